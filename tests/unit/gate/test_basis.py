"""Claims about which figures of a time are compared with which stored ones."""

from __future__ import annotations

from perfguard.baselines import BaselineMetric, ProcessRun
from perfguard.document import Metric
from perfguard.gate.basis import FASTEST, MEDIAN, ONE_SPEED, basis_of
from perfguard.stats.change import ABSOLUTE_PRIOR


def baseline(*runs: tuple[float, float | None, float | None]) -> BaselineMetric:
    """A stored time with process runs of (median, fastest, reference)."""
    stored = tuple(
        ProcessRun("2026-01-01T00:00:00Z", "abc", 30, m, (m, m), fastest=fastest, reference_s=reference)
        for m, fastest, reference in runs
    )
    return BaselineMetric("time", "s", "lower", "time", True, stored, "suite.toml:1")


def metric(fastest: float | None = 1.0, reference_s: float | None = 1e-4) -> Metric:
    ci = (1.0, 2.0)
    return Metric("time", "s", "lower", "time", True, 30, 1.5, ci, 0.95, fastest=fastest, reference_s=reference_s)


NEW, OLD = (1.5, 1.0, 1e-4), (1.6, None, None)


def test_fastest_rounds_are_compared_at_one_speed_where_all_is_known() -> None:
    """And medians with medians where either side has only those."""
    assert basis_of(metric(), baseline(NEW, NEW)).name == ONE_SPEED
    assert basis_of(metric(reference_s=None), baseline(NEW, NEW)).name == FASTEST
    assert basis_of(metric(), baseline((1.5, 1.0, None), NEW)).name == FASTEST
    assert basis_of(metric(fastest=None), baseline(NEW, NEW)).name == MEDIAN
    assert basis_of(metric(), baseline(OLD, OLD)).name == MEDIAN


def test_old_runs_are_left_out_once_there_are_three_new_ones() -> None:
    """A baseline that grows from an older perfguard's changes over, and never mixes medians with fastest rounds."""
    assert basis_of(metric(), baseline(OLD, OLD, OLD, NEW, NEW)).before == (1.6, 1.6, 1.6, 1.5, 1.5)
    assert basis_of(metric(), baseline(OLD, OLD, OLD, NEW, NEW, NEW)).before == (1.0, 1.0, 1.0)


def test_a_median_moved_by_a_neighbour_is_no_change() -> None:
    """Half of today's rounds were disturbed: the median doubled, the fastest round did not."""
    disturbed = Metric("time", "s", "lower", "time", True, 30, 3.0, (2.9, 3.1), 0.95, fastest=1.0, reference_s=1e-4)
    change = basis_of(disturbed, baseline(NEW, NEW, NEW)).change(alpha=0.01, prior=ABSOLUTE_PRIOR, within_sd=0.01)
    assert change.ratio == 1.0
