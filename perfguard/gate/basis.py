"""Which figures of a time are compared: those that other processes move least.

Whoever shares the machine only ever adds time, and for a second or a minute; so the fastest round of a run tells more
of the code than the median does, and the reference kernel's fastest time in the same run tells how fast the machine
was. docs/quality.md has the figures: what either gains. A change of the slower calls alone is not seen this way.
"""

from __future__ import annotations

from dataclasses import dataclass

from perfguard.baselines.model import BaselineMetric, ProcessRun
from perfguard.document import Metric
from perfguard.stats.change import ChangeInterval, Prior, at_one_speed, change_against_runs, change_at_one_speed

MEDIAN, FASTEST, ONE_SPEED = "median", "fastest", "fastest, at one speed"
FEWEST_RUNS = 3  # with a fastest round, before the others of a baseline are left out


@dataclass(frozen=True, slots=True)
class Basis:
    """What is compared: today's figure and the stored ones, and the reference's times where `name` is ONE_SPEED."""

    name: str
    now: float
    before: tuple[float, ...]
    speed_now: float = 0.0
    speeds_before: tuple[float, ...] = ()

    def change(self, *, alpha: float, prior: Prior, within_sd: float) -> ChangeInterval:
        """Now over before, with its interval at `1 - alpha`."""
        if self.name == ONE_SPEED:
            return change_at_one_speed(
                self.now, self.before, self.speed_now, self.speeds_before, alpha=alpha, prior=prior
            )
        within_sd = within_sd if self.name == MEDIAN else 0.0
        return change_against_runs(self.now, self.before, within_sd=within_sd, alpha=alpha, prior=prior)


def basis_of(metric: Metric, baseline: BaselineMetric) -> Basis:
    """The best basis that both today's run and enough of the stored ones have."""
    runs = _with_fastest(baseline)
    if metric.fastest is None or metric.fastest <= 0 or not runs:
        return Basis(MEDIAN, metric.median, baseline.medians)
    figures = tuple(run.fastest for run in runs if run.fastest is not None)
    speeds = tuple(run.reference_s for run in runs if run.reference_s is not None)
    if metric.reference_s is None or len(speeds) < len(figures):
        return Basis(FASTEST, metric.fastest, figures)
    return Basis(ONE_SPEED, metric.fastest, figures, metric.reference_s, speeds)


def noise_of(baseline: BaselineMetric, prior: Prior) -> list[float]:
    """The stored figures as they would be compared: how they scatter is the run-to-run noise."""
    runs = _with_fastest(baseline)
    if not runs:
        return list(baseline.medians)
    figures = [run.fastest for run in runs if run.fastest is not None]
    speeds = [run.reference_s for run in runs if run.reference_s is not None]
    return figures if len(speeds) < len(figures) else at_one_speed(figures, speeds, prior)


def _with_fastest(baseline: BaselineMetric) -> tuple[ProcessRun, ...]:
    runs = tuple(run for run in baseline.process_runs if run.fastest is not None)
    return runs if len(runs) >= min(FEWEST_RUNS, len(baseline.process_runs)) else ()
