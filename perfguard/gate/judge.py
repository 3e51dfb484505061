"""The verdict on one metric: today's process run against the stored ones.

`slower` and `faster` need two things: that it changed at all, by an interval wide enough to hold for all metrics of
the run together, and that the change exceeds the practical limit. Asking that the whole interval lie beyond the limit
would leave changes of twice the limit untold. `same` needs the metric's own 95 % interval inside the limit on the
harmful side; what is left cannot be told and is `noisy`, never silently `same`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from perfguard.baselines.model import BaselineMetric, Baselines
from perfguard.document import (
    PORTABLE_KINDS,
    Account,
    BaselineReference,
    Case,
    Change,
    Metric,
    PhaseChange,
    Verdict,
    with_verdict,
)
from perfguard.gate.attribution import attribute
from perfguard.gate.basis import MEDIAN, basis_of, noise_of
from perfguard.gate.policy import Policy, per_test_alpha
from perfguard.stats.change import (
    ABSOLUTE_PRIOR,
    PORTABLE_PRIOR,
    ChangeInterval,
    Prior,
    change_against_differences,
    interval_sd,
)
from perfguard.stats.prior import learn_prior

FRACTION_PRIOR = Prior(sd=0.005, degrees=2.0)
SINGLE_CONFIDENCE = 0.95
MAIN_METRIC = "time"
BEYOND = 1e9  # a ratio to zero: JSON has no infinity


@dataclass(frozen=True)
class Judge:
    """Judges metrics of one run. `tests` is how many gated metrics of it have a baseline."""

    baselines: Baselines
    policy: Policy
    tests: int
    priors: Mapping[bool, Prior]

    @classmethod
    def for_run(cls, baselines: Baselines, policy: Policy, case_keys: Iterable[str]) -> Judge:
        """The judge of a run of these cases, with run-to-run noise learnt from all its baselines."""
        keys = set(case_keys)
        return cls(
            baselines,
            policy,
            baselines.count(keys),
            {
                portable: learn_prior(
                    [
                        noise_of(m, prior)
                        for m in baselines.metrics.values()
                        if _is_relative(m) and _portable(m) == portable
                    ],
                    prior,
                )
                for portable, prior in ((False, ABSOLUTE_PRIOR), (True, PORTABLE_PRIOR))
            },
        )

    def judge(self, case: Case, metric: Metric) -> Metric:
        """The metric with verdict, change and baseline. Raises `BaselineError` if its unit or kind changed."""
        baseline = self.baselines.metric(case.suite, case.key, metric.name, metric.kind)
        if baseline is None:
            return with_verdict(metric, "new")
        baseline.check(metric, case.key)
        reference = BaselineReference(
            baseline_median(baseline), len(baseline.process_runs), baseline.source, baseline.medians
        )
        limit = metric.limit if baseline.limit is None else baseline.limit
        alarm = self.interval(metric, baseline, per_test_alpha(self.policy, self.tests), exact=limit == 0)
        alone = self.interval(metric, baseline, 1 - SINGLE_CONFIDENCE, exact=limit == 0)
        verdict = verdict_of(alarm, alone, metric.direction, limit)
        interval = alarm if verdict in ("slower", "faster") else alone
        phases: tuple[PhaseChange, ...] = ()
        told = verdict != "same" and metric.name == MAIN_METRIC  # shares of next to nothing would only mislead
        if told and case.account is not None and baseline.process_runs[-1].phases:
            phases = attribute(per_call(case.account), [run.phases for run in baseline.process_runs])
        basis = basis_of(metric, baseline).name if _by_basis(metric, exact=limit == 0) else MEDIAN
        change = Change(interval.ratio, (interval.low, interval.high), phases, basis)
        return with_verdict(metric, verdict, change, reference)

    def missing(self, case: Case) -> tuple[str, ...]:
        """The metrics that have a baseline and that this case, which ran, no longer reports."""
        if case.status != "passed":
            return ()
        seen = {metric.name for metric in case.metrics}
        return tuple(m.name for m in self.baselines.of_case(case.suite, case.key) if m.name not in seen)

    def interval(self, metric: Metric, baseline: BaselineMetric, alpha: float, *, exact: bool) -> ChangeInterval:
        """Now over baseline, with its interval at `1 - alpha`."""
        now, before = metric.median, baseline.medians
        if exact:  # the last run's figure is the truth: earlier ones may be of code that did something else
            ratio = _exact_ratio(now, before[-1])
            return ChangeInterval(ratio, ratio, ratio, 0.0, math.inf)
        if metric.kind == "fraction":
            return change_against_differences(now, before, alpha=alpha, prior=FRACTION_PRIOR)
        if now <= 0 or min(before) <= 0:
            ratio = _exact_ratio(now, baseline_median(baseline))
            return ChangeInterval(ratio, 0.0, BEYOND, 0.0, 0.0)
        within = interval_sd(*metric.ci, metric.confidence) if metric.n > 1 else 0.0
        return basis_of(metric, baseline).change(alpha=alpha, prior=self.priors[_portable(metric)], within_sd=within)


def _by_basis(metric: Metric, *, exact: bool) -> bool:
    """Whether a metric is compared as a ratio of its `Basis`: neither by equality nor by difference."""
    return not exact and metric.kind != "fraction" and metric.median > 0


def verdict_of(alarm: ChangeInterval, alone: ChangeInterval, direction: str, limit: float) -> Verdict:
    """The verdict on a change known by two intervals.

    `alarm` holds for all metrics of the run together: that anything changed rests on it, so that a run without change
    seldom alarms. `alone` holds for this metric: that it did not get slower by more than the limit rests on it.
    """
    low, ratio, high = _harm(alarm, direction)
    if low > 1 and ratio > 1 + limit:
        return "slower"
    if high < 1 and ratio < 1 / (1 + limit):
        return "faster"
    return "same" if _harm(alone, direction)[2] <= 1 + limit else "noisy"


def _harm(interval: ChangeInterval, direction: str) -> tuple[float, float, float]:
    """The interval and its centre as ratios of harm (low, ratio, high): inverted where higher is better."""
    if direction == "higher":
        return _inverse(interval.high), _inverse(interval.ratio), _inverse(interval.low)
    return interval.low, interval.ratio, interval.high


def baseline_median(baseline: BaselineMetric) -> float:
    """The figure a baseline stands for: the median over its process runs."""
    ordered = sorted(baseline.medians)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def per_call(account: Account) -> dict[str, float]:
    """Median self seconds per call by phase path, `unaccounted` among them."""
    return {phase.path: phase.median_s for phase in account.phases} | {"unaccounted": account.unaccounted_median_s}


def _portable(metric: Metric | BaselineMetric) -> bool:
    return metric.kind in PORTABLE_KINDS


def _is_relative(metric: BaselineMetric) -> bool:
    return metric.kind in ("time", "throughput", "ratio") and min(metric.medians) > 0


def _exact_ratio(now: float, before: float) -> float:
    if now == before:
        return 1.0
    return min(BEYOND, now / before) if before > 0 and now >= 0 else BEYOND if now > before else 0.0


def _inverse(x: float) -> float:
    return BEYOND if x <= 0 else 1 / x
