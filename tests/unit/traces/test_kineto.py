"""Claims about Kineto traces: exact nanoseconds, every version's categories, and what is left out with a note."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_traces import COPY, GEMM, NCCL, Kineto, us

from perfguard.errors import TraceError
from perfguard.traces import kineto, model
from perfguard.traces.kineto import nanoseconds

OLD = {"kernel": "Kernel", "gpu_memcpy": "Memcpy", "gpu_memset": "Memset", "cuda_runtime": "Runtime"}


@given(st.integers(-(10**18), 10**18))
def test_nanoseconds_survive(ns: int) -> None:
    """Microseconds with three decimals come back as the nanosecond they were, at any distance from zero."""
    assert nanoseconds(us(ns)) == ns
    assert nanoseconds(ns) == ns * 1000
    assert nanoseconds(f"{Decimal(ns) / 1000:e}") == ns


@pytest.mark.parametrize("wrong", [None, True, "soon", "nan", "Infinity", [], {}, "1e999999999"])
def test_what_is_no_time_is_no_time(wrong: object) -> None:
    """Anything but a number is refused, also what Decimal would take."""
    with pytest.raises(ValueError, match="no time"):
        nanoseconds(wrong)


@pytest.mark.parametrize("category", [{}, OLD], ids=["today", "torch 1.8"])
def test_activities_by_kind(category: dict[str, str], tmp_path: Path) -> None:
    """Kernels, collectives, copies by direction and memsets, under the categories of any version."""
    made = Kineto(category=category)
    for name in (GEMM, NCCL):
        made.launched("kernel", name, 0, 5_001, 9_002)
    for name in (COPY, "Memcpy DtoH (Device -> Pageable)", "Memcpy DtoD (Device -> Device)", "CopyDeviceToHost", "x"):
        made.launched("gpu_memcpy", name, 0, 5_000, 9_000, stream=20)
    made.launched("gpu_memset", "Memset (Device)", 0, 5_000, 9_000)
    made.range("layer_0", 0, 2_000)
    made.add("cpu_op", "aten::mm", 0, 2_000, (42, 42))
    trace = kineto.read(made.write(tmp_path / "t.json"))
    kinds = [model.KIND_NAMES[kind] for kind in trace.activities.kind.tolist()]
    assert kinds == [
        "compute",
        "communication",
        "copy h2d",
        "copy d2h",
        "copy d2d",
        "copy d2h",
        "copy other",
        "memset",
    ]
    assert trace.activities.start_ns[0] == made.base_ns + 5_001
    assert set(trace.activities.stream.tolist()) == {7, 20}
    assert len(trace.ranges) == 1
    assert trace.devices == {0: "NVIDIA H200"}
    assert trace.notes == ()
    assert len(kineto.read(tmp_path / "t.json", operators=True).ranges) == 2


def test_the_autograd_profiler_of_torch_1(tmp_path: Path) -> None:
    """Before Kineto a trace was a bare list, with kernels under a process of their own and no categories."""
    rows = [
        {"name": "my step", "ph": "X", "ts": 10.5, "dur": 100, "tid": 1, "pid": "CPU functions", "args": {}},
        {"name": "aten::mm", "ph": "X", "ts": 11, "dur": 50, "tid": 1, "pid": "CPU functions", "args": {}},
        {"name": "aten::mm", "ph": "X", "ts": 20, "dur": 70, "tid": 0, "pid": "CUDA functions", "args": {}},
        {"name": "launch", "ph": "s", "ts": 11, "tid": 1, "pid": "CPU functions", "id": 1, "cat": "cpu_to_cuda"},
    ]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(rows))
    trace = kineto.read(path)
    assert trace.activities.intervals().tolist() == [[20_000, 90_000]]
    assert [trace.names[n] for n in trace.ranges.name.tolist()] == ["my step"]


def test_negative_durations_and_garbage_are_left_out_and_told(tmp_path: Path) -> None:
    """What ends before it starts, and what is no event, is counted in a note; the rest is read."""
    made = Kineto()
    made.device("kernel", "good", 1000, 2000)
    made.device("kernel", "backwards", 5000, 4000)
    made.events += ["[]", "3", '{"ph": "X", "cat": "kernel", "name": "x", "ts": "soon", "dur": 1}', "{}"]
    trace = kineto.read(made.write(tmp_path / "t.json"))
    assert len(trace.activities) == 1
    assert trace.notes == (
        "1 events with a negative duration are left out, the first is 'backwards'",
        "3 of 6 events are no trace events and are left out",
    )
    made.events = ["[]", "3"]
    with pytest.raises(TraceError, match="none of its 2 events"):
        kineto.read(made.write(tmp_path / "none.json"))


def test_mixed_clocks_are_refused(tmp_path: Path) -> None:
    """Half of the kernels on another clock, or kernels on another than the ranges: no figure is made of that."""
    made = Kineto()
    for n in range(4):
        made.device("kernel", "a", n * 1000, n * 1000 + 500)
        made.device("kernel", "b", n * 1000 - made.base_ns, n * 1000 + 500 - made.base_ns)
    with pytest.raises(TraceError, match="4 of 8 device activities are 57 days from the others: clocks are mixed"):
        kineto.read(made.write(tmp_path / "kernels.json"))
    made = Kineto()
    made.device("kernel", "a", 0, 500)
    made.range("layer_0", 0 - made.base_ns, 1000 - made.base_ns)
    with pytest.raises(TraceError, match="clocks are mixed"):
        kineto.read(made.write(tmp_path / "ranges.json"))


def test_a_single_stray_is_left_out_and_told(tmp_path: Path) -> None:
    """One activity in 200 at time zero, as Kineto clamps some, is a glitch: left out, with a note."""
    made = Kineto()
    for n in range(200):
        made.device("kernel", "a", n * 1000, n * 1000 + 500)
    made.device("kernel", "zero", -made.base_ns, 500 - made.base_ns)
    trace = kineto.read(made.write(tmp_path / "t.json"))
    assert len(trace.activities) == 200
    assert "1 device activities are more than a day from the others" in trace.notes[0]


def test_a_device_clock_ahead_of_the_host_is_told(tmp_path: Path) -> None:
    """Kernels that start milliseconds before their launch call show that the clocks differ."""
    made = Kineto()
    made.launched("kernel", "early", 50_000_000, 1_000_000, 2_000_000)
    made.launched("kernel", "fine", 50_000_000, 51_000_000, 52_000_000)
    (note,) = kineto.read(made.write(tmp_path / "t.json")).notes
    assert note == "1 device activities start before the call that launched them: host and device clocks differ"


def test_numbers_beyond_64_bits_are_refused(tmp_path: Path) -> None:
    """A time that no 64 bits hold is an error that says so."""
    made = Kineto(base_ns=2**70)
    made.device("kernel", "a", 0, 500)
    with pytest.raises(TraceError, match="beyond 64 bits"):
        kineto.read(made.write(tmp_path / "t.json"))
