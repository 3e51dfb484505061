"""The trends that a page shows beside a run: its gated metrics in the history, those that changed first."""

from __future__ import annotations

from pathlib import Path

from perfguard.document import Run
from perfguard.errors import HistoryError
from perfguard.report.lines import WORST_FIRST
from perfguard.report.source import Trend

MOST = 40
LAST_RUNS = 100


def trends_of(run: Run, target: str | Path, most: int = MOST) -> tuple[Trend, ...]:
    """Trends of at most `most` gated metrics over the last runs of the main line, on this run's machine class.

    A metric that the history does not have is left out. Raises `HistoryError` if the history cannot be read.
    """
    from perfguard.history import open_history

    found: list[Trend] = []
    wanted = [
        (WORST_FIRST.index(metric.verdict or "same"), case.key, metric.name)
        for case in run.cases
        for metric in case.metrics
        if metric.gated
    ]
    machine_class = str(run.machine.get("class", "")) or None
    with open_history(target, create=False) as history:
        for _, case, metric in sorted(wanted, key=lambda each: each[0])[:most]:
            try:
                trend = history.trend(case, metric, machine_class=machine_class, last=LAST_RUNS)
            except HistoryError:
                continue
            if len(trend.points) > 1:
                found.append(trend)
    return tuple(found)
