"""Which cases are shown and which one is selected: pure functions on views."""

from __future__ import annotations

from perfguard_tui import query
from perfguard_tui.views import WORST_FIRST, CaseView, RunView


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


def _by_severity(cases: tuple[CaseView, ...], word: str) -> list[CaseView]:
    # What got slower has phases to look at, what broke has only its message: show the former first.
    first = {"broken": "slower", "slower": "broken"}.get(word, word)
    return [case for case in cases if case.verdict == first]
