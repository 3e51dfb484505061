"""What the history of runs tells of a case, read in a thread: a database may take its time. Free of Textual."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perfguard.errors import PerfguardError
from perfguard.history.model import ChangePoint, Trend

HOME = Path(".perfguard/history.db")
LAST = 400  # runs of a trend that are shown


@dataclass(frozen=True, slots=True)
class Past:
    """A metric's trend and its change points, the newest first; `problem` says why there is none."""

    trend: Trend | None = None
    changes: tuple[ChangePoint, ...] = ()
    problem: str = ""


@dataclass(slots=True)
class PastReader:
    """Reads a history, each series once; `version` counts what has been read, so that a screen knows to draw again."""

    target: str | Path | None
    version: int = 0
    _read: dict[tuple[str, str, str], Past] = field(default_factory=dict)
    _asked: set[tuple[str, str, str]] = field(default_factory=set)

    def past(self, case: str, metric: str, machine_class: str) -> Past | None:
        """The series' past, None as long as it is being read, or where there is no history."""
        key = (case, metric, machine_class)
        if self.target is not None and key not in self._asked:
            self._asked.add(key)
            threading.Thread(target=self._work, args=(key,), name="perfguard-history", daemon=True).start()
        return self._read.get(key)

    @property
    def reading(self) -> bool:
        """Whether something asked for has not come yet."""
        return len(self._read) < len(self._asked)

    def _work(self, key: tuple[str, str, str]) -> None:
        case, metric, machine_class = key
        try:
            self._read[key] = read_past(self.target or HOME, case, metric, machine_class)
        except PerfguardError as error:
            self._read[key] = Past(problem=str(error))
        except ImportError:
            self._read[key] = Past(problem="the history's libraries are missing: pip install perfguard[history]")
        except Exception as error:  # noqa: BLE001 - whatever a database driver thinks of, the page says it
            self._read[key] = Past(problem=f"{type(error).__name__}: {error}")
        self.version += 1


def read_past(target: str | Path, case: str, metric: str, machine_class: str) -> Past:
    """The series on its machine class, or on the one measured last. Raises `HistoryError` naming the history."""
    from perfguard.errors import HistoryError
    from perfguard.history import open_history

    with open_history(target, create=False) as history:
        try:
            trend = history.trend(case, metric, machine_class=machine_class or None, last=LAST)
        except HistoryError:
            trend = history.trend(case, metric, last=LAST)
        changes = history.changes(case=case, metric=metric, machine_class=trend.machine_class, gated=False)
    return Past(trend, changes)


def default_target() -> Path | None:
    """The history below the working directory, None if there is none."""
    return HOME if HOME.is_file() else None


def runs_of_change(trend: Trend, change: ChangePoint) -> int | None:
    """Which point of the trend the change begins at, None if it lies before those that are shown."""
    return next((i for i, point in enumerate(trend.points) if point.run == change.at_run), None)


def bisect_of(change: ChangePoint, fallback: str) -> str:
    """The command that looks for the commit; `fallback`: the case's id, where the history does not know it."""
    quoted = (change.case_id or fallback).replace("'", "'\\''")
    return f"perfguard bisect {change.before[:12] or 'GOOD'} {change.after[:12] or 'BAD'} -- '{quoted}'"


def levels_of(trend: Trend, changes: Sequence[ChangePoint]) -> list[tuple[int, int, float]]:
    """Stretches of one level: the first and the last point, and the level (the median of its points)."""
    from statistics import median

    starts = sorted({at for change in changes if (at := runs_of_change(trend, change))})
    edges = [0, *starts, len(trend.points)]
    pairs = itertools.pairwise(edges)
    return [(a, b - 1, median(point.value for point in trend.points[a:b])) for a, b in pairs if b > a]
