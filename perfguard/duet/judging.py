"""The verdicts on one case of a duet, from its restarts so far and the noise that the whole run shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from perfguard.document import Change, Kind, Verdict
from perfguard.duet.outcome import TIME, CaseRecord, Compared, Judgement, MetricVerdict, exact
from perfguard.stats.change import Prior
from perfguard.stats.quantiles import Array
from perfguard.stats.sequence import learn_duet_prior
from perfguard.stats.sequential import DuetDecision, DuetPlan, compare_counts, decide
from perfguard.units import format_change

BEYOND = 1e9  # a ratio to zero: JSON has no infinity
SMALLEST = 1e-12  # in place of zero, of which there is no logarithm


def usual_noise(records: Iterable[CaseRecord]) -> Prior:
    """The noise of a restart that is usual in this run, learnt from the records of all its cases."""
    return learn_duet_prior([record.log_ratios()[0] for record in records if record.figures])


def judge_case(record: CaseRecord, prior: Prior, plan: DuetPlan, limit: float) -> Judgement:
    """The verdicts on all metrics of one case. `prior` is the `usual_noise` of the run.

    `plan` holds the run's alpha, tests and restarts, `limit` is the case's own for metrics without one. A case is
    certain once every gated metric is decided, which it is without any, or its test failed on either side.
    """
    if record.failed:
        names = [metric.name for metric in record.compared()] or [TIME]
        return Judgement({name: MetricVerdict("broken", limit) for name in names}, True, (f"broken: {record.failed}",))
    verdicts, certain, notes, alarms = {}, True, [], 0
    for metric in record.compared():
        own_limit = limit if metric.limit is None else metric.limit
        decision = _decide(record, metric, replace(plan, limit=max(own_limit, 1e-9)), prior)
        verdict: Verdict = "noisy" if decision.verdict == "undecided" else decision.verdict
        verdicts[metric.name] = _verdict(metric, decision, verdict, own_limit)
        if metric.gated:
            certain = certain and decision.verdict != "undecided"
            alarms += decision.verdict == "slower"
            if not exact(metric):
                notes.append(_resolution(metric, decision))
    return Judgement(verdicts, certain, tuple(notes), alarms)


def _decide(record: CaseRecord, metric: Compared, plan: DuetPlan, prior: Prior) -> DuetDecision:
    before, now = np.array(metric.before), np.array(metric.now)
    if metric.direction == "higher":  # what follows asks whether the second of both is the larger
        before, now = now, before
    if exact(metric):
        return compare_counts(before, now, plan)
    if metric.name == TIME:
        log_ratios, within_se = record.log_ratios()
        return decide(log_ratios, within_se, plan, prior)
    return decide(differences(metric.kind, before, now), None, plan, prior)


def differences(kind: Kind, before: Array, now: Array) -> Array:
    """What is compared of figures that are not times, shape (restarts,) as `before` and `now`.

    Log ratios; of fractions, which may be zero, the log1p of their differences with its sign. Swapping the sides
    changes the sign and nothing else, and each restart's value is its own: the bets rest on both.
    """
    if kind == "fraction":
        points = now - before
        return np.asarray(np.sign(points) * np.log1p(np.abs(points)))
    return np.asarray(np.log(np.maximum(now, SMALLEST)) - np.log(np.maximum(before, SMALLEST)))


def _verdict(metric: Compared, decision: DuetDecision, verdict: Verdict, limit: float) -> MetricVerdict:
    """In the document a change is now over before, whichever direction is better."""
    ratio, low, high = decision.ratio, decision.low, decision.high
    if metric.direction == "higher":
        ratio, low, high = _inverse(ratio), _inverse(high), _inverse(low)
    change = Change(_finite(ratio), (_finite(low), _finite(high)), basis="pairs")
    return MetricVerdict(verdict, limit, change, float(np.median(metric.before)))


def _resolution(metric: Compared, decision: DuetDecision) -> str:
    seen = (
        "no change could have been seen"
        if math.isinf(decision.detectable)
        else f"would have seen {format_change(1 + decision.detectable)}"
    )
    return f"{metric.name}: {decision.restarts} restarts a side, {seen}"


def _inverse(x: float) -> float:
    return math.inf if x <= 0 else 1 / x


def _finite(x: float) -> float:
    return min(max(x, 0.0), BEYOND)
