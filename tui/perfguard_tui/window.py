"""A window of time over a recording: the run as far as it lies in it, and the phases of the rounds in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from perfguard.document import Metric
from perfguard.events import Replay
from perfguard.events.rounds import Item, Rounds
from perfguard_tui.reducers import RECENT_SAMPLES
from perfguard_tui.views import CaseView, RunView, SeriesView

# Producers write into one file each by its own clock reading: what comes a little late is still waited for.
_LATE_NS = 1_000_000_000
_PART = "the window holds a part of this case: its figures are the whole case's, all else is the window's"
_READING = "the window holds a part of this case: its figures are the whole case's, and its phases until they are read"

Window: TypeAlias = tuple[float, float]
"""From when to when, in seconds since the run began."""

CallPhases: TypeAlias = tuple[float, tuple[tuple[str, float], ...]]
"""Mean seconds of a call, and mean self seconds of each of its phases."""


@dataclass(frozen=True, slots=True)
class WindowPhases:
    """The phases of the timed rounds in `window`, by case; a case without any is not among them."""

    window: Window
    by_case: Mapping[str, CallPhases]


@dataclass(slots=True)
class _Sum:
    rounds: int = 0
    value_s: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)

    def add(self, rounds: int, value_s: float, phases: Mapping[str, float]) -> None:
        self.rounds += rounds
        self.value_s += value_s
        for path, self_s in phases.items():
            self.phases[path] = self.phases.get(path, 0.0) + self_s

    @property
    def mean(self) -> CallPhases:
        n = self.rounds
        return self.value_s / n, tuple((path, self_s / n) for path, self_s in self.phases.items())


def read_phases(
    path: Path, first_ns: int, window: Window, given_up: Callable[[], bool] = lambda: False
) -> WindowPhases | None:
    """Read them out of a recording whose first event is of `first_ns`: some 300,000 events a second.

    None if it was given up meanwhile. Raises `EventError` if the file is no recording any more.
    """
    low_ns, high_ns = (first_ns + int(at_s * 1e9) for at_s in window)
    sums: dict[str, _Sum] = {}
    for item in Replay(path).items():
        times = (int(item.t_ns[0]), int(item.t_ns[-1])) if isinstance(item, Rounds) else (item["t_ns"],) * 2
        if times[0] > high_ns + _LATE_NS:
            break
        if given_up():
            return None
        if times[1] >= low_ns:
            for case, rounds, value_s, phases in _parts(item, low_ns, high_ns):
                sums.setdefault(case, _Sum()).add(rounds, value_s, phases)
    return WindowPhases(window, {case: found.mean for case, found in sums.items()})


def _parts(item: Item, low_ns: int, high_ns: int) -> Iterator[tuple[str, int, float, Mapping[str, float]]]:
    """Sums over what of a frame lies in the window: a case, its timed rounds with phases, their values and phases."""
    if not isinstance(item, Rounds):
        timed = item["kind"] == "round" and not item["warmup"] and low_ns <= item["t_ns"] <= high_ns
        if timed and item["phases"]:
            yield item["case"], 1, item["value"], item["phases"]
        return
    inside = (item.t_ns >= low_ns) & (item.t_ns <= high_ns) & ~item.warmup
    for row, shape in set(zip(item.row[inside].tolist(), item.shape[inside].tolist(), strict=True)):
        paths = item.paths[shape]
        if paths:
            chosen = np.flatnonzero(inside & (item.row == row) & (item.shape == shape))
            seconds = item.phases[item.begins[chosen][:, None] + np.arange(len(paths))].sum(0).tolist()
            yield (
                item.series[row][0],
                len(chosen),
                float(item.value[chosen].sum()),
                dict(zip(paths, seconds, strict=True)),
            )


def windowed(run: RunView, window: Window | None, phases: WindowPhases | None = None) -> RunView:
    """The run as far as it lies within the window: its cases, samples, log and noise, and `phases` once read."""
    if window is None:
        return run
    low, high = window
    by_case = phases.by_case if phases is not None and phases.window == window else None
    cases = tuple(
        _windowed_case(case, low, high, by_case)
        for case in run.cases
        if case.began_s is not None and case.began_s <= high and (case.ended_s is None or case.ended_s >= low)
    )
    return replace(
        run,
        cases=cases,
        log=tuple(entry for entry in run.log if low <= entry.t_s <= high),
        noise=tuple(reading for reading in run.noise if low <= reading[0] <= high),
    )


def _within(case: CaseView, low: float, high: float) -> bool:
    told_s = [float(one.points[0][-1]) for one in case.series if one.points is not None and len(one.points[0])]
    end_s = case.ended_s if case.ended_s is not None else max(told_s, default=0.0)
    return case.began_s is not None and low <= case.began_s and end_s <= high


def _windowed_case(case: CaseView, low: float, high: float, by_case: Mapping[str, CallPhases] | None) -> CaseView:
    if _within(case, low, high):
        return case
    series = tuple(_windowed_series(one, low, high) for one in case.series)
    rounds = {int(index) for one in series if one.points is not None for index in one.points[1]}
    calls = tuple(call for call in case.calls if call[0] in rounds)
    part = replace(case, series=series, calls=calls, spans=calls[-1][1] if calls else ())
    if by_case is None:
        return replace(part, notes=(_READING, *case.notes))
    call_s, phases = by_case.get(case.id, (0.0, ()))
    metrics = tuple(map(_without_phases, case.metrics))
    notes = (_PART, *case.notes)
    return replace(part, account=None, live_phases=phases, live_call_s=call_s, metrics=metrics, notes=notes)


def _without_phases(metric: Metric) -> Metric:
    """A metric's change, without what phases it lies in: those are of the whole case."""
    return metric if metric.change is None else replace(metric, change=replace(metric.change, phases=()))


def _windowed_series(series: SeriesView, low: float, high: float) -> SeriesView:
    if series.points is None:
        return series
    t_s, index, value = series.points
    inside = (t_s >= low) & (t_s <= high)
    kept = value[inside]
    median = float(np.median(kept)) if len(kept) else 0.0
    points = (t_s[inside], index[inside], kept)
    return SeriesView(
        series.metric, len(kept), series.warmup, tuple(map(float, kept[-RECENT_SAMPLES:])), median, points
    )
