"""What a duet's restarts come to: figures, accounts and verdicts of one case, for the document."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np

from perfguard.document import EXACT_KINDS, Account, Change, Direction, Kind, Phase, PhaseChange, Verdict
from perfguard.duet.pace import FIRST_S, wanted_s
from perfguard.duet.pairing import A, B, Half
from perfguard.figures import metric_of
from perfguard.gate.attribution import attribute
from perfguard.stats.change import Prior
from perfguard.stats.pairs import RestartFigure, combine_blocks
from perfguard.stats.quantiles import Array, median_interval
from perfguard.stats.sequence import confidence_sequence

TIME = "time"


@dataclass(frozen=True)
class Compared:
    """One metric over the restarts: its figure on each side, restart by restart, and what kind of figure it is."""

    name: str
    unit: str
    kind: Kind
    direction: Direction
    gated: bool
    limit: float | None
    before: tuple[float, ...]
    now: tuple[float, ...]


@dataclass
class CaseRecord:
    """All restarts of one case: what both sides gave each time, and the figure of each pair of timed halves."""

    restarts: list[Mapping[str, Half]] = field(default_factory=list)
    figures: list[RestartFigure] = field(default_factory=list)

    def add(self, halves: Mapping[str, Half]) -> None:
        """Keep one restart."""
        self.restarts.append(halves)
        if halves[A].blocks_s and halves[B].blocks_s:
            self.figures.append(combine_blocks(halves[A].blocks_s, halves[B].blocks_s))

    def log_ratios(self) -> tuple[Array, Array]:
        """The log ratios of the times and their standard errors, shape (restarts,) each; empty without blocks."""
        return np.array([f.log_ratio for f in self.figures]), np.array([f.se for f in self.figures])

    def wanted_s(self, limit: float) -> float:
        """Seconds of blocks that the next restart should take, by this case's own noise; see `pace.wanted_s`."""
        if not self.figures:
            return FIRST_S
        timed_s = [sum(half.wall_ns for half in halves.values()) / 1e9 for halves in self.restarts]
        change = abs(statistics.median(f.log_ratio for f in self.figures))
        se = statistics.median(f.se for f in self.figures)
        return wanted_s(se, statistics.median(timed_s), max(limit, change))

    def last(self, side: str) -> Half | None:
        """What a side gave last, or None before the first restart."""
        return self.restarts[-1][side] if self.restarts else None

    @property
    def failed(self) -> str:
        """Why no verdict can be given: which side's test did not pass, and its message; "" if all passed."""
        for halves in self.restarts:
            for side, name in ((B, "now"), (A, "before")):
                if halves[side].status != "passed":
                    return f"{name}: {halves[side].status}: {halves[side].message}"
        return ""

    def compared(self) -> list[Compared]:
        """Every metric that both sides reported in every restart."""
        if not self.restarts:
            return []
        found = []
        if all(halves[side].blocks_s for halves in self.restarts for side in (A, B)):
            before, now = (
                tuple(statistics.median(halves[side].blocks_s) for halves in self.restarts) for side in (A, B)
            )
            found.append(Compared(TIME, "s", "time", "lower", True, None, before, now))
        for name, record in self.restarts[-1][B].records.items():
            if all(name in halves[side].records for halves in self.restarts for side in (A, B)):
                before, now = (
                    tuple(float(halves[side].records[name]["median"]) for halves in self.restarts) for side in (A, B)
                )
                found.append(
                    Compared(
                        name,
                        record["unit"],
                        cast("Kind", record["kind"]),
                        cast("Direction", record["direction"]),
                        bool(record["gated"]),
                        record["limit"],
                        before,
                        now,
                    )
                )
        return found

    def gated_metrics(self) -> int:
        """How many comparisons of this case can raise an alarm."""
        return sum(metric.gated for metric in self.compared())

    def lost(self) -> list[str]:
        """The metrics that the other side reported last, and the working tree did not, unless a test failed."""
        if not self.restarts or self.failed:
            return []
        return sorted(_reported(self.restarts[-1][A]) - _reported(self.restarts[-1][B]))


def _reported(half: Half) -> set[str]:
    return {*half.records, *([TIME] if half.measures else [])}


def exact(metric: Compared) -> bool:
    """Whether a metric is compared by equality."""
    return metric.kind in EXACT_KINDS and not metric.limit


def metric_maps(record: CaseRecord, limit: float) -> list[dict[str, Any]]:
    """The working tree's metrics as document maps; a sample is one restart's figure."""
    maps = []
    for metric in record.compared():
        interval = median_interval(metric.now)
        maps.append(
            asdict(
                metric_of(
                    metric.name,
                    metric.now,
                    interval,
                    unit=metric.unit,
                    kind=metric.kind,
                    direction=metric.direction,
                    gated=metric.gated,
                    limit=metric.limit,
                    default_limit=limit,
                )
            )
        )
    return maps


def new_metric_maps(half: Half | None, limit: float, known: Collection[str]) -> list[dict[str, Any]]:
    """The metrics of one run of the working tree that could be compared with nothing; `known` are left out."""
    if half is None or half.status != "passed":
        return []
    maps = []
    if half.blocks_s and TIME not in known:
        interval = median_interval(half.blocks_s)
        maps.append(metric_of(TIME, half.blocks_s, interval, unit="s", kind="time", default_limit=limit))
    for name, record in half.records.items():
        if name not in known:
            values = [float(record["median"])]
            maps.append(
                metric_of(
                    name,
                    values,
                    median_interval(values),
                    unit=record["unit"],
                    kind=record["kind"],
                    direction=record["direction"],
                    gated=bool(record["gated"]),
                    limit=record["limit"],
                    default_limit=limit,
                )
            )
    return [asdict(metric) for metric in maps]


def account_of(record: CaseRecord, side: str = B) -> Account | None:
    """The account of one side over all its restarts and blocks; None if it measured no blocks."""
    halves = [halves[side] for halves in record.restarts if halves[side].blocks_s]
    if not halves:
        return None
    wall_ns, calls = sum(h.wall_ns for h in halves), sum(h.calls for h in halves)
    per_call = phases_per_call(record, side)
    weights = [(phases, h.calls / len(h.phases_s)) for h in halves for phases in h.phases_s]
    totals: dict[str, float] = {}
    for phases, weight in weights:
        for path, own_s in phases.items():
            totals[path] = totals.get(path, 0.0) + own_s * weight
    unaccounted_s = totals.pop("unaccounted", 0.0)
    counts = {path: sum(h.counts.get(path, 0) for h in halves) for path in totals}
    return Account(
        wall_s=wall_ns / 1e9,
        unaccounted_s=unaccounted_s,
        phases=tuple(
            sorted(
                (
                    Phase(path, _with_nested(path, totals), own_s, counts[path], per_call.get(path, 0.0))
                    for path, own_s in totals.items()
                ),
                key=lambda phase: -phase.self_s,
            )
        ),
        calls=calls,
        unaccounted_median_s=per_call.get("unaccounted", 0.0),
    )


def phases_per_call(record: CaseRecord, side: str) -> dict[str, float]:
    """Self seconds per call by phase: the median over restarts of the median over blocks."""
    per_restart = [_medians(halves[side].phases_s) for halves in record.restarts if halves[side].phases_s]
    return _medians(per_restart)


def phase_changes(record: CaseRecord, prior: Prior, limit: float) -> tuple[PhaseChange, ...]:
    """Which phases account for the change, each with its own ratio and interval, and what they say of `limit`.

    A phase is compared as the whole call is: block by block with its pair, so that the machine's speed cancels; what it
    gained is that ratio of its time before. A phase that took no time in some block, as one that is new, has no ratio:
    it counts with the median over restarts of what it gained within a restart.
    """
    before, gains = phases_per_call(record, A), _gains(record)
    told = {path: interval for path in gains if (interval := _interval_of_phase(record, path, prior)) is not None}
    now = {path: before.get(path, 0.0) + gain for path, gain in gains.items()}
    now |= {path: before[path] * ratio for path, (_, ratio, _) in told.items()}
    changes = []
    for change in attribute(now, [before]):
        if change.path in told:
            low, ratio, high = told[change.path]
            changes.append(replace(change, ratio=ratio, ci=(low, high), verdict=_phase_verdict(low, high, limit)))
        else:
            changes.append(change)
    return tuple(changes)


def _gains(record: CaseRecord) -> dict[str, float]:
    """Seconds per call that each phase gained: the median over restarts."""
    gains = []
    for halves in record.restarts:
        if halves[A].phases_s and halves[B].phases_s:
            before, now = _medians(halves[A].phases_s), _medians(halves[B].phases_s)
            gains.append({path: now.get(path, 0.0) - before.get(path, 0.0) for path in {*before, *now}})
    return _medians(gains)


def _interval_of_phase(record: CaseRecord, path: str, prior: Prior) -> tuple[float, float, float] | None:
    """Low end, estimate and high end of a phase's ratio; None where it took no time in some block."""
    figures = []
    for halves in record.restarts:
        blocks = [[phases.get(path, 0.0) for phases in halves[side].phases_s] for side in (A, B)]
        if not blocks[0] or min(map(min, blocks)) <= 0:
            return None
        figures.append(combine_blocks(*blocks))
    sequence = confidence_sequence([f.log_ratio for f in figures], [f.se for f in figures], prior=prior)
    low, ratio, high = (
        math.exp(min(float(ends[-1]), 700.0)) for ends in (sequence.low, sequence.estimate, sequence.high)
    )
    return low, ratio, high


def _phase_verdict(low: float, high: float, limit: float) -> Verdict:
    if 1 / (1 + limit) < low and high < 1 + limit:
        return "same"
    return "slower" if low > 1 else "faster" if high < 1 else "noisy"


def _with_nested(path: str, totals: Mapping[str, float]) -> float:
    return sum(own_s for other, own_s in totals.items() if other == path or other.startswith(path + "/"))


def _medians(maps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    paths = {path for phases in maps for path in phases}
    return {path: statistics.median(phases.get(path, 0.0) for phases in maps) for path in paths}


@dataclass(frozen=True)
class MetricVerdict:
    """The verdict on one metric, with the change behind it and the figure before."""

    verdict: Verdict
    limit: float
    change: Change | None = None
    before: float | None = None


@dataclass(frozen=True)
class Judgement:
    """The verdicts on one case, and whether further restarts could change them."""

    verdicts: Mapping[str, MetricVerdict]
    certain: bool
    notes: tuple[str, ...] = ()
    alarms: int = 0  # gated metrics that got slower
