"""The verdicts on one case of a duet, from its restarts so far and the noise that the whole run shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from perfguard.document import Change, Verdict
from perfguard.duet.outcome import TIME, CaseRecord, Compared, Judgement, MetricVerdict, exact, phase_changes
from perfguard.duet.pairing import A, B
from perfguard.stats.change import Prior
from perfguard.stats.pairs import combine_blocks
from perfguard.stats.quantiles import Array
from perfguard.stats.sequence import learn_duet_prior
from perfguard.stats.sequential import DuetDecision, DuetPlan, compare_counts, decide
from perfguard.units import format_change

BEYOND = 1e9  # a ratio to zero: JSON has no infinity


def judge_case(record: CaseRecord, others: Iterable[CaseRecord], plan: DuetPlan, limit: float) -> Judgement:
    """The verdicts on all metrics of one case. `others` are the records of all cases: they teach the usual noise.

    `plan` holds the run's alpha, tests and restarts, `limit` is the case's own for metrics without one. A case is
    certain once every gated metric is decided, or its test failed on either side.
    """
    if record.failed:
        names = [metric.name for metric in record.compared()] or [TIME]
        return Judgement({name: MetricVerdict("broken", limit) for name in names}, True, (f"broken: {record.failed}",))
    prior = learn_duet_prior([log_ratios for log_ratios, _ in map(figures, others) if log_ratios.size])
    verdicts, certain, notes = {}, True, []
    for metric in record.compared():
        own_limit = limit if metric.limit is None else metric.limit
        decision = _decide(record, metric, replace(plan, limit=max(own_limit, 1e-9)), prior)
        verdict: Verdict = "noisy" if decision.verdict == "undecided" else decision.verdict
        verdicts[metric.name] = _verdict(record, metric, decision, verdict, own_limit)
        if metric.gated:
            certain = certain and decision.verdict != "undecided"
            if not exact(metric):
                notes.append(_resolution(metric, decision))
    return Judgement(verdicts, certain and bool(verdicts), tuple(notes))


def figures(record: CaseRecord) -> tuple[Array, Array]:
    """The log ratios of a case's times and their standard errors, shape (restarts,) each; empty without blocks."""
    pairs = [
        combine_blocks(halves[A].blocks_s, halves[B].blocks_s)
        for halves in record.restarts
        if halves[A].blocks_s and halves[B].blocks_s
    ]
    return np.array([p.log_ratio for p in pairs]), np.array([p.se for p in pairs])


def _decide(record: CaseRecord, metric: Compared, plan: DuetPlan, prior: Prior) -> DuetDecision:
    before, now = np.array(metric.before), np.array(metric.now)
    if exact(metric):
        return compare_counts(before, now, plan)
    if metric.name == TIME:
        log_ratios, within_se = figures(record)
        return decide(log_ratios, within_se, plan, prior)
    if metric.kind == "fraction" or min(before.min(), now.min()) <= 0:
        differences = np.log1p(np.clip(now - before, -0.999999, None))
    else:
        differences = np.log(now / before)
    return decide(differences if metric.direction == "lower" else -differences, None, plan, prior)


def _verdict(
    record: CaseRecord, metric: Compared, decision: DuetDecision, verdict: Verdict, limit: float
) -> MetricVerdict:
    """In the document a change is now over before, whichever direction is better."""
    ratio, low, high = decision.ratio, decision.low, decision.high
    if metric.direction == "higher":
        ratio, low, high = _inverse(ratio), _inverse(high), _inverse(low)
    phases = phase_changes(record) if metric.name == TIME else ()
    change = Change(_finite(ratio), (_finite(low), _finite(high)), phases)
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
