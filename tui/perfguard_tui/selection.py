"""Which cases are shown and which one is selected: pure functions on views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perfguard_tui import query
from perfguard_tui.views import WORST_FIRST, CaseView, RunView, SeriesView

_PART = "the window holds a part of this case: samples and calls are the window's, figures and phases the whole case's"
RECENT = 120  # samples of a row's sparkline


def filtered(run: RunView, text: str) -> tuple[CaseView, ...]:
    """The cases that pass the filter `text` (the language is `query`'s)."""
    if not text.strip():
        return run.cases
    return tuple(case for case in run.cases if query.matches(case, text))


def ordered(cases: tuple[CaseView, ...], order: str, *, backwards: bool) -> tuple[CaseView, ...]:
    """The cases in one of `query.ORDERS`; equal ones stay in the order of the run."""
    if order != "run":
        cases = tuple(sorted(cases, key=query.sort_key(order)))
    return cases[::-1] if backwards else cases


def moved(cases: tuple[CaseView, ...], selected: str | None, by: int) -> str | None:
    """The id `by` rows further on, stopping at the ends."""
    if not cases:
        return None
    index = next((i for i, case in enumerate(cases) if case.id == selected), 0 if by > 0 else len(cases) - 1)
    known = any(case.id == selected for case in cases)
    return cases[max(0, min(len(cases) - 1, index + by if known else 0))].id


def next_regression(cases: tuple[CaseView, ...], selected: str | None, step: int) -> str | None:
    """The next case (`step` -1: the one before) that is slower or broken, round the end; None if there is none."""
    at = next((i for i, case in enumerate(cases) if case.id == selected), -1)
    for offset in range(1, len(cases) + 1):
        case = cases[(at + step * offset) % len(cases)]
        if case.verdict in ("slower", "broken"):
            return case.id
    return None


def chosen(cases: tuple[CaseView, ...], run: RunView, selected: str | None, *, follow: bool) -> str | None:
    """The case to select: the running one when following, else the one selected if it is still shown.

    When following and nothing runs: the last one that ran; once the run is over, the worst.
    """
    if follow:
        if run.running is not None and any(case.id == run.running for case in cases):
            return run.running
        if run.exit_status is not None or run.gate is not None:
            worst = next((case for word in WORST_FIRST[:4] for case in _by_severity(cases, word)), None)
            if worst is not None:
                return worst.id
    if selected is not None and any(case.id == selected for case in cases):
        return selected
    return cases[0].id if cases else None


def windowed(run: RunView, window: tuple[float, float] | None) -> RunView:
    """The run as far as it lies within `window` (seconds since its beginning): its cases, samples, log and noise."""
    if window is None:
        return run
    low, high = window
    cases = tuple(
        _windowed_case(case, low, high)
        for case in run.cases
        if case.began_s is not None and case.began_s <= high and (case.ended_s is None or case.ended_s >= low)
    )
    return replace(
        run,
        cases=cases,
        log=tuple(entry for entry in run.log if low <= entry.t_s <= high),
        noise=tuple(reading for reading in run.noise if low <= reading[0] <= high),
    )


def _windowed_case(case: CaseView, low: float, high: float) -> CaseView:
    told_s = [float(one.points[0][-1]) for one in case.series if one.points is not None and len(one.points[0])]
    end_s = case.ended_s if case.ended_s is not None else max(told_s, default=0.0)
    if case.began_s is not None and low <= case.began_s and end_s <= high:
        return case
    series = tuple(_windowed_series(one, low, high) for one in case.series)
    rounds = {int(index) for one in series if one.points is not None for index in one.points[1]}
    calls = tuple(call for call in case.calls if call[0] in rounds)
    spans = calls[-1][1] if calls else ()
    return replace(case, series=series, calls=calls, spans=spans, notes=(_PART, *case.notes))


def _windowed_series(series: SeriesView, low: float, high: float) -> SeriesView:
    if series.points is None:
        return series
    t_s, index, value = series.points
    inside = (t_s >= low) & (t_s <= high)
    kept = value[inside]
    median = float(np.median(kept)) if len(kept) else 0.0
    points = (t_s[inside], index[inside], kept)
    return SeriesView(series.metric, len(kept), series.warmup, tuple(map(float, kept[-RECENT:])), median, points)


def _by_severity(cases: tuple[CaseView, ...], word: str) -> list[CaseView]:
    # What got slower has phases to look at, what broke has only its message: show the former first.
    first = {"broken": "slower", "slower": "broken"}.get(word, word)
    return [case for case in cases if case.verdict == first]
