"""The verdict on one metric: today's process run against the stored ones.

`slower` and `faster` need the whole interval beyond the practical limit; `same` needs it inside the limit on
the harmful side; what is left cannot be told and is `noisy`, never silently `same`.
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
from perfguard.gate.policy import Policy, per_test_alpha
from perfguard.stats.change import (
    ABSOLUTE_PRIOR,
    PORTABLE_PRIOR,
    ChangeInterval,
    Prior,
    change_against_differences,
    change_against_runs,
    interval_sd,
)
from perfguard.stats.prior import learn_prior

FRACTION_PRIOR = Prior(sd=0.02, degrees=2.0)
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
                    [m.medians for m in baselines.metrics.values() if _is_relative(m) and _portable(m) == portable],
                    PORTABLE_PRIOR if portable else ABSOLUTE_PRIOR,
                )
                for portable in (False, True)
            },
        )

    def judge(self, case: Case, metric: Metric) -> Metric:
        """The metric with verdict, change and baseline. Raises `BaselineError` if its unit or kind changed."""
        baseline = self.baselines.metric(case.suite, case.key, metric.name, metric.kind)
        if baseline is None:
            return with_verdict(metric, "new")
        baseline.check(metric, case.key)
        reference = BaselineReference(baseline_median(baseline), len(baseline.process_runs), baseline.source)
        limit = metric.limit if baseline.limit is None else baseline.limit
        interval = self.interval(metric, baseline, exact=limit == 0)
        verdict = verdict_of(interval, metric.direction, limit)
        phases: tuple[PhaseChange, ...] = ()
        if metric.name == MAIN_METRIC and case.account is not None and baseline.process_runs[-1].phases:
            phases = attribute(per_call(case.account), [run.phases for run in baseline.process_runs])
        change = Change(interval.ratio, (interval.low, interval.high), phases)
        return with_verdict(metric, verdict, change, reference)

    def missing(self, case: Case) -> tuple[str, ...]:
        """The metrics that have a baseline and that this case, which ran, no longer reports."""
        if case.status != "passed":
            return ()
        seen = {metric.name for metric in case.metrics}
        return tuple(m.name for m in self.baselines.of_case(case.suite, case.key) if m.name not in seen)

    def interval(self, metric: Metric, baseline: BaselineMetric, *, exact: bool) -> ChangeInterval:
        """Now over baseline with the interval that keeps the whole run's error under alpha."""
        now, before = metric.median, baseline.medians
        if exact:  # the last run's figure is the truth: earlier ones may be of code that did something else
            ratio = _exact_ratio(now, before[-1])
            return ChangeInterval(ratio, ratio, ratio, 0.0, math.inf)
        alpha = per_test_alpha(self.policy, self.tests)
        if metric.kind == "fraction":
            return change_against_differences(now, before, alpha=alpha, prior=FRACTION_PRIOR)
        if now <= 0 or min(before) <= 0:
            ratio = _exact_ratio(now, baseline_median(baseline))
            return ChangeInterval(ratio, 0.0, BEYOND, 0.0, 0.0)
        within = interval_sd(*metric.ci, metric.confidence) if metric.n > 1 else 0.0
        return change_against_runs(now, before, within_sd=within, alpha=alpha, prior=self.priors[_portable(metric)])


def verdict_of(interval: ChangeInterval, direction: str, limit: float) -> Verdict:
    """The verdict on a ratio's interval. For `higher` is better, harm is the inverse ratio."""
    low, high = interval.low, interval.high
    if direction == "higher":
        low, high = _inverse(high), _inverse(low)
    if low > 1 + limit:
        return "slower"
    if high < 1 / (1 + limit):
        return "faster"
    return "same" if high <= 1 + limit else "noisy"


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
