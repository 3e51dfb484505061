"""Two runs compared, by the gate's own judgement, sorted by how certain each change is. Free of Textual."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perfguard import document
from perfguard.document import Metric, Run
from perfguard.events import Replay
from perfguard.events.fold import fold
from perfguard.events.framing import MAGIC
from perfguard_tui.views import RunView

ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric that both runs have. `certainty`: how many half-widths of its interval the change is away from 1."""

    case: str
    name: str
    metric: Metric
    certainty: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The metrics by certainty. `samples`: the run before's, by case key and metric; `gone`: cases it alone had."""

    before: str
    now: str
    rows: tuple[Compared, ...] = ()
    notes: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    samples: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)


def read_run(path: Path) -> Run:
    """The run in a JSON document or a recording. Raises `PerfguardError` naming the file."""
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError:
        start = b""
    return fold(Replay(path).items()) if start[:-1] == MAGIC[:-1] else document.load(path)


def compare(before: Run, now: Run, before_name: str, now_name: str) -> Comparison:
    """`now` judged against `before`; alarms hold for all metrics together at 99 %."""
    from perfguard.commands.compare import judged

    cases, gone, notes = judged([before], now, ALPHA)
    rows = [
        Compared(case.id, case.id.rpartition("::")[2], metric, certainty_of(metric))
        for case in cases
        for metric in case.metrics
        if metric.change is not None
    ]
    samples = {(case.key, metric.name): metric.samples for case in before.cases for metric in case.metrics}
    return Comparison(before_name, now_name, _sorted(rows), tuple(notes), tuple(gone), samples)


def own_comparison(run: RunView) -> Comparison:
    """The run against its baselines, as its own gate judged it."""
    rows = [
        Compared(case.id, case.name, metric, certainty_of(metric))
        for case in run.cases
        for metric in case.metrics
        if metric.change is not None
    ]
    note = "this run against its baselines, as its own gate judged; b compares with another open run"
    return Comparison("baselines", run.run_id or "this run", _sorted(rows), (note,))


def certainty_of(metric: Metric) -> float:
    """The change's distance from "none" in half-widths of its interval, on the scale of ratios; infinite if exact."""
    change = metric.change
    if change is None or change.ratio <= 0 or min(change.ci) <= 0:
        return 0.0
    low, high = (math.log(end) for end in change.ci)
    away = abs(math.log(change.ratio))
    half = (high - low) / 2
    if half <= 0:
        return math.inf if away > 0 else 0.0
    return away / half


def _sorted(rows: list[Compared]) -> tuple[Compared, ...]:
    """What changed for certain first, of that what is gated, and then by how certain it is."""
    told = ("slower", "faster", "broken")

    def key(row: Compared) -> tuple[bool, bool, float]:
        return row.metric.verdict not in told, not row.metric.gated, -row.certainty

    return tuple(sorted(rows, key=key))
