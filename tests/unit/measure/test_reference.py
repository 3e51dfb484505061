"""Claims about the reference kernel between rounds."""

from __future__ import annotations

import pytest

from perfguard.measure import reference
from perfguard.measure.reference import EVERY_NS, SpeedMeter


def test_the_kernel_runs_when_it_is_due_and_its_fastest_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five rounds on a clock that stands but for the kernel: it runs at once, and again 20 ms later, not before."""
    now = [1]
    costs = iter([500, 300])

    def kernel() -> int:
        now[0] += next(costs)
        return 0

    monkeypatch.setattr(reference, "perf_counter_ns", lambda: now[0])
    monkeypatch.setattr(reference, "kernel", kernel)
    meter = SpeedMeter()
    assert meter.fastest_s is None
    meter.tick()
    meter.tick()
    assert meter.fastest_s == pytest.approx(500e-9)
    now[0] += EVERY_NS
    meter.tick()
    meter.tick()
    assert meter.fastest_s == pytest.approx(300e-9)
    assert next(costs, None) is None


def test_the_kernel_is_the_same_work_each_time() -> None:
    """And takes time on the real clock."""
    meter = SpeedMeter()
    meter.tick()
    assert meter.fastest_s is not None
    assert meter.fastest_s > 0
    assert reference.kernel() == reference.kernel()
