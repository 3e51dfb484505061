"""Which cases are shown and which one is selected: pure functions on views."""

from __future__ import annotations

from perfguard_tui.views import WORST_FIRST, CaseView, RunView


def filtered(run: RunView, text: str) -> tuple[CaseView, ...]:
    """The cases whose name, suite, state or verdict holds every word of `text`, whatever its case."""
    words = text.lower().split()
    if not words:
        return run.cases
    return tuple(case for case in run.cases if all(word in _words_of(case) for word in words))


def moved(cases: tuple[CaseView, ...], selected: str | None, by: int) -> str | None:
    """The id `by` rows further on, stopping at the ends."""
    if not cases:
        return None
    index = next((i for i, case in enumerate(cases) if case.id == selected), 0 if by > 0 else len(cases) - 1)
    known = any(case.id == selected for case in cases)
    return cases[max(0, min(len(cases) - 1, index + by if known else 0))].id


def chosen(cases: tuple[CaseView, ...], run: RunView, selected: str | None, *, follow: bool) -> str | None:
    """The case to select: the running one when following, else the one selected if it is still shown.

    When following and nothing runs: the last one that ran; once the run is over, the worst.
    """
    ids = [case.id for case in cases]
    if follow:
        if run.running in ids:
            return run.running
        if run.exit_status is not None or run.gate is not None:
            worst = next((case for word in WORST_FIRST[:4] for case in _by_severity(cases, word)), None)
            if worst is not None:
                return worst.id
    if selected in ids:
        return selected
    return ids[0] if ids else None


def _by_severity(cases: tuple[CaseView, ...], word: str) -> list[CaseView]:
    # What got slower has phases to look at, what broke has only its message: show the former first.
    first = {"broken": "slower", "slower": "broken"}.get(word, word)
    return [case for case in cases if case.verdict == first]


def _words_of(case: CaseView) -> str:
    return f"{case.name} {case.suite} {case.state} {case.verdict or ''}".lower()
