"""From verdicts to an exit status, with the reason in one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perfguard.document import Case, Gate
from perfguard.gate.policy import Policy, words


def decide(cases: Iterable[Case], policy: Policy, gone: Sequence[str] = ()) -> Gate:
    """The gate's decision on judged cases. `gone` are cases that lost a metric which has a baseline.

    Only gated metrics count. `missing` lists the cases where a comparison was impossible: a gated metric
    without baseline (verdict `new`), or a baseline without its metric.
    """
    by_verdict: dict[str, list[str]] = {"slower": [], "noisy": [], "new": []}
    for case in cases:
        verdicts = {metric.verdict for metric in case.metrics if metric.gated}
        for verdict, ids in by_verdict.items():
            if verdict in verdicts:
                ids.append(case.id)
    missing = tuple(dict.fromkeys([*by_verdict["new"], *gone]))
    found = {"slower": tuple(by_verdict["slower"]), "noisy": tuple(by_verdict["noisy"]), "missing": missing}
    failing = set(policy.fail_on) | ({"missing"} if policy.strict else set())
    reasons = [f"{len(ids)} {verdict}: {words(ids)}" for verdict, ids in found.items() if ids and verdict in failing]
    if reasons:
        return Gate(1, **found, reason="; ".join(reasons))
    untold = [f"{len(ids)} {verdict}" for verdict, ids in found.items() if ids]
    said = "nothing fails" if found["slower"] else "nothing got slower"
    reason = said + (f" ({', '.join(untold)}, which this gate lets pass)" if untold else "")
    return Gate(0, **found, reason=reason)
