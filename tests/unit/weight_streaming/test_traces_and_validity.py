"""What a trace says of a run, and when a figure is not believed."""

from __future__ import annotations

import pytest

from perfguard_suites.weight_streaming.trace import LATE, READY, Stretch, Trace
from perfguard_suites.weight_streaming.validity import Validity


def trace_of_two_layers() -> Trace:
    """Layer 0 is loaded in 40 ns and computed with in 50, while layer 1 is loaded in 60."""
    trace = Trace(begin_ns=100, end_ns=200)
    trace.loads += [Stretch(0, 60, 140, "a"), Stretch(1, 140, 180, "b")]  # layer 0 was asked for before
    trace.waits += [Stretch(0, 100, 140, LATE), Stretch(1, 171, 172, READY)]
    trace.computes += [Stretch(0, 140, 170), Stretch(1, 172, 200)]
    return trace


def test_a_trace_counts_what_lies_in_its_scope() -> None:
    """A load that began before it is cut off, and the overlap is that of the unions."""
    found = trace_of_two_layers().overlap(serial_s=140e-9, compute_alone_s=50e-9)
    assert found.copy_s == pytest.approx(80e-9)
    assert found.both_s == pytest.approx(38e-9)
    assert found.compute_stretch == pytest.approx(58 / 50)
    assert found.realised_saving == pytest.approx(40 / 58)


def test_handoffs_are_between_computes_with_nothing_to_wait_for() -> None:
    """The layer that was late is not one."""
    trace = trace_of_two_layers()
    assert trace.handoffs_ns() == [2]
    assert trace.wait_per_layer_s() == pytest.approx(41e-9 / 2)
    trace.waits[1] = Stretch(1, 171, 172, LATE)
    assert trace.handoffs_ns() == []


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"queued": 0.03}, ["a thread waited for a CPU 3.0% of the time"]),
        ({"others": 0.015, "steal": 0.01}, ["others took 2.5% of the CPUs"]),
        ({"disk_bytes": 1 << 20}, ["1048576 bytes came from the disk, 0 were expected to"]),
        ({"expected_bytes": 100 << 20}, ["0 bytes came from the disk, 104857600 were expected to"]),
        ({"disk_bytes": 102 << 20, "expected_bytes": 100 << 20}, []),
    ],
)
def test_a_figure_is_not_believed_for_a_reason(changes: dict[str, float], reasons: list[str]) -> None:
    """CPUs that others had, or bytes from elsewhere than was said."""
    facts = {"wall_s": 1.0, "queued": 0.0, "others": 0.0, "steal": 0.0, "disk_bytes": 0, "expected_bytes": 0}
    valid = Validity(**(facts | changes))  # type: ignore[arg-type]
    assert list(valid.noisy_because) == reasons
    assert str(valid).startswith("noisy" if reasons else "valid")
