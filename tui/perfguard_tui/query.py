"""The filter language and the orders of the table: pure functions on views.

Words are regular expressions over name, suite, state and verdict, all of which must match; `!` before a word turns it
round. `status:slower`, `suite:`, `phase:pack`, `metric:` look in one place; `delta:>5%`, `n:<30` compare figures.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from perfguard_tui.views import WORST_FIRST, CaseView

Test = Callable[[CaseView], bool]

_FIGURE = re.compile(r"(>=|<=|>|<|=)?\s*([-+]?\d+(?:\.\d+)?)(%?)")
ORDERS = ("run", "name", "verdict", "change", "median", "n")


@functools.lru_cache(maxsize=64)
def parse(text: str) -> tuple[Test, ...]:
    """The tests that a case must all pass."""
    return tuple(_negated(word[1:]) if word.startswith("!") and len(word) > 1 else _test(word) for word in text.split())


def matches(case: CaseView, text: str) -> bool:
    """Whether the case passes the filter; an empty one lets all pass."""
    return all(test(case) for test in parse(text))


def sort_key(order: str) -> Callable[[CaseView], tuple[object, ...]]:
    """The key of one of `ORDERS`, ascending; what has no such figure comes last."""
    return {"name": _by_name, "verdict": _by_verdict, "change": _by_change, "median": _by_median, "n": _by_n}[order]


def delta_of(case: CaseView) -> float | None:
    """The change of the headline as a fraction: 0.05 is 5 % more than before."""
    metric = case.headline
    return None if metric is None or metric.change is None else metric.change.ratio - 1


def count_of(case: CaseView) -> int:
    """Samples of the headline, or so far."""
    metric = case.headline
    if metric is not None:
        return metric.n
    return case.series[0].n if case.series else 0


def _negated(word: str) -> Test:
    test = _test(word)
    return lambda case: not test(case)


def _test(word: str) -> Test:
    key, colon, value = word.partition(":")
    if colon and value and key in _PLACES:
        search = _search(value)
        return lambda case: search(_PLACES[key](case))
    if colon and key in _FIGURES and (match := _FIGURE.fullmatch(value)):
        sign, wanted = match[1] or "=", float(match[2]) / (100 if match[3] else 1)
        return lambda case: _compares(_FIGURES[key](case), sign, wanted)
    search = _search(word)
    return lambda case: search(f"{case.name} {case.suite} {case.state} {case.verdict or ''}")


def _search(pattern: str) -> Callable[[str], bool]:
    try:
        compiled = re.compile(pattern, re.IGNORECASE)
    except re.error:  # while one types, and in names such as test[1
        compiled = re.compile(re.escape(pattern), re.IGNORECASE)
    return lambda text: compiled.search(text) is not None


def _compares(figure: float | None, sign: str, wanted: float) -> bool:
    if figure is None:
        return False
    return {
        ">": figure > wanted,
        "<": figure < wanted,
        ">=": figure >= wanted,
        "<=": figure <= wanted,
        "=": abs(figure - wanted) < 1e-12,
    }[sign]


def _phases(case: CaseView) -> str:
    paths = [phase.path for phase in case.account.phases] if case.account is not None else []
    return "\n".join([*paths, *(path for path, _ in case.live_phases)])


_PLACES: dict[str, Callable[[CaseView], str]] = {
    "status": lambda case: f"{case.state} {case.verdict or ''}",
    "suite": lambda case: case.suite,
    "phase": _phases,
    "metric": lambda case: "\n".join([m.name for m in case.metrics] + [s.metric for s in case.series]),
}
_FIGURES: dict[str, Callable[[CaseView], float | None]] = {"delta": delta_of, "n": count_of}


def _by_name(case: CaseView) -> tuple[object, ...]:
    return (case.suite, case.name)


def _by_verdict(case: CaseView) -> tuple[object, ...]:
    return (WORST_FIRST.index(case.verdict) if case.verdict else len(WORST_FIRST),)


def _by_change(case: CaseView) -> tuple[object, ...]:
    delta = delta_of(case)
    return (delta is None, -(delta or 0.0))


def _by_median(case: CaseView) -> tuple[object, ...]:
    metric = case.headline
    return (metric is None, -(metric.median if metric is not None else 0.0))


def _by_n(case: CaseView) -> tuple[object, ...]:
    return (-count_of(case),)
