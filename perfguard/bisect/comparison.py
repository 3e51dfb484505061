"""What the search asks to be measured, what comes back, and which figure of it is followed: pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfguard.document import EXACT_KINDS, Case, Metric
from perfguard.errors import OptionError

TIME = "time"


@dataclass(frozen=True, slots=True)
class Request:
    """One comparison: commit `now` against commit `before`, within `seconds`.

    `alpha` is its share of the error rate; `limit` the practical limit, a fraction, None for each case's own;
    `leave_out` are the ids of cases that need not be measured.
    """

    before: str
    now: str
    seconds: float
    alpha: float
    limit: float | None = None
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison came to: the judged cases, or in `problem` why there are none."""

    cases: tuple[Case, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The figure that is followed: a metric of a case."""

    case_id: str
    metric: str

    def found_in(self, outcome: Outcome) -> Metric | str:
        """Its figure, judged; or why it has none, in words."""
        if outcome.problem:
            return outcome.problem
        case = next((case for case in outcome.cases if case.id == self.case_id), None)
        if case is None:
            return "the case is missing"
        if case.status != "passed":
            return f"the case does not pass: {first_line(case.notes[-1] if case.notes else case.status)}"
        metric = case.metric(self.metric)
        if metric is None or metric.change is None:
            return f"the case measures no {self.metric}" + "".join(f"; {note}" for note in case.notes[-1:])
        return metric


def slowdown(metric: Metric) -> tuple[float, float, float]:
    """How much worse it got and the interval of that, above 1 where it did, whichever direction is better."""
    if metric.change is None:
        return 1.0, 0.0, math.inf
    low, high = metric.change.ci
    if metric.direction == "lower":
        return metric.change.ratio, low, high
    return _inverse(metric.change.ratio), _inverse(high), _inverse(low)


def is_exact(metric: Metric) -> bool:
    """Whether it was compared by equality: then its interval is a point."""
    return metric.kind in EXACT_KINDS and metric.change is not None and metric.change.ci[0] == metric.change.ci[1]


def gated(cases: Iterable[Case], only: str | None = None) -> list[tuple[Target, Metric]]:
    """The figures that may be followed: gated, judged, and named `only` if that is given."""
    return [
        (Target(case.id, metric.name), metric)
        for case in cases
        for metric in case.metrics
        if metric.gated and metric.verdict is not None and only in (None, metric.name)
    ]


def most_slowed(figures: Sequence[tuple[Target, Metric]]) -> tuple[Target, Metric] | None:
    """Which of the figures to follow: of those that are slower a time before others, then the largest slowdown."""
    slower = [figure for figure in figures if figure[1].verdict == "slower"]
    return max(slower, key=lambda figure: (figure[1].name == TIME, slowdown(figure[1])[0]), default=None)


def check_comparable(outcome: Outcome, only: str | None, good: str, bad: str) -> None:
    """Raises `OptionError`, saying which and why, if GOOD (before) and BAD (now) cannot be compared at all."""
    if outcome.problem:
        raise OptionError(f"BAD ({bad})", f"cannot be compared with GOOD ({good}): {outcome.problem}")
    failed = [case for case in outcome.cases if case.status != "passed"]
    if failed:
        said = first_line(failed[0].notes[-1] if failed[0].notes else failed[0].status)
        raise OptionError(failed[0].id, f"does not pass: {said}", f"before: GOOD ({good}), now: BAD ({bad})")
    if gated(outcome.cases, only):
        return
    names = sorted({metric.name for case in outcome.cases for metric in case.metrics if metric.gated})
    if only is not None and names:
        raise OptionError("--metric", f"there is no gated {only!r}", f"one of {', '.join(names)}")
    notes = "".join(f"; {note}" for case in outcome.cases for note in case.notes[:2])
    raise OptionError(f"GOOD ({good}) and BAD ({bad})", f"have no gated figure in common{notes}")


def what_went_wrong(status: int, text: str) -> str:
    """Why a pytest run has no result, in one line, from its exit status and what it printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    said = [line.partition("ERROR:")[2].strip() for line in lines if "ERROR:" in line]
    if errors:
        return f"cannot be imported: {errors[-1]}"
    if status == 5 or any(line.startswith(("not found:", "file or directory not found:")) for line in said):
        return "the case is missing"
    return f"pytest ended with status {status}: {(said or lines or ['without a word'])[0 if said else -1]}"


def first_line(text: str) -> str:
    """The first line that says something, cut to what fits a table."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:200]


def _inverse(x: float) -> float:
    return math.inf if x <= 0 else 1 / x
