"""The ladder as a JSON document: `perfguard.ladder/1`. Seconds throughout, every figure with its n or interval."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from perfguard.ladder.figures import (
    client_core,
    client_core_per_100,
    gap_s_per_step,
    phases_s_per_token,
    rows_per_step,
    steps,
)
from perfguard.ladder.latency import Limits, batch_sizes, good_share, goodput_per_s, latency_of, speed_of
from perfguard.ladder.result import Ladder
from perfguard.stats.quantiles import Interval, median_interval

SCHEMA = "perfguard.ladder/1"


def to_document(ladder: Ladder, limits: Limits | None = None) -> dict[str, Any]:
    """The whole ladder."""
    return {
        "schema": SCHEMA,
        "load": asdict(ladder.load),
        "rounds": {
            "n": len(ladder.kept),
            "measured": len(ladder.rounds),
            "disturbed": ladder.disturbed,
            "other_cores": [each.other_cores for each in ladder.rounds],
            "orders": [list(each.order) for each in ladder.rounds],
        },
        "spread": ladder.spread,
        "noisy": ladder.noisy or None,
        "top_s_per_token": ladder.top_s_per_token,
        "unexplained_s_per_token": ladder.unexplained_s,
        "ladder_unexplained_fraction": ladder.unexplained_fraction,
        "stages": [_stage(ladder, name, limits) for name in ladder.names],
    }


def _stage(ladder: Ladder, name: str, limits: Limits | None) -> dict[str, Any]:
    runs = ladder.runs(name)
    stage = next(stage for stage in ladder.stages if stage.name == name)
    terms, gap, added_gap = ladder.terms(name), gap_s_per_step(runs), ladder.added_gap(name)
    speeds = ladder.tokens_per_s(name)
    found: dict[str, Any] = {
        "name": name,
        "component": stage.component,
        "tokens_per_run": runs[0].tokens,
        "tokens_per_s": _interval(median_interval(speeds, ladder.confidence)) | {"samples": speeds.tolist()},
        "over_stage0": _interval(ladder.over_stage0(name)),
        "over_previous": _interval(ladder.over_previous(name)),
        "added_s_per_token": _interval(ladder.added_s_per_token(name)),
        "verdict": ladder.verdict(name),
        "target": stage.target,
        "target_met": ladder.target_met(name),
        "terms": None if terms is None else {"loss_s": terms.loss_s, **asdict(terms.terms)},
        "gap_s_per_step": None if gap is None else _interval(gap),
        "added_gap_fraction": None if added_gap is None else _interval(added_gap),
        "steps_per_run": steps(runs),
        "rows_per_decode_step": rows_per_step(runs),
        "prefill_tokens_per_s": speed_of(runs, "prefill"),
        "decode_tokens_per_s": speed_of(runs, "decode"),
        "batch_sizes": {str(size): count for size, count in batch_sizes(runs).items()},
        "calls": dict(runs[-1].calls),
        "phases_s_per_token": dict(phases_s_per_token(runs)),
        "latency": asdict(latency_of(runs)),
        "refused": sum(run.refused for run in runs),
        "client": {"core_per_100_tokens_per_s": client_core_per_100(runs), "core": client_core(runs)},
    }
    if limits is not None:
        good = median_interval([goodput_per_s(run, limits) for run in runs])
        found["goodput"] = {"limits": asdict(limits), "per_s": _interval(good), "share": good_share(runs, limits)}
    return found


def _interval(interval: Interval) -> dict[str, Any]:
    return {"median": interval.estimate, "ci": [interval.low, interval.high], "confidence": interval.confidence}
