"""The bisect from end to end: are the ends apart, which commit is it, and does it differ from its neighbour.

It asks for comparisons and knows neither git nor pytest, so that the search can be tested without measuring.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from perfguard.bisect.comparison import (
    Outcome,
    Request,
    Target,
    check_comparable,
    gated,
    is_exact,
    most_slowed,
    slowdown,
)
from perfguard.bisect.history import Commit
from perfguard.bisect.search import Answer, Search, Spending, halfway
from perfguard.document import Metric

Measure = Callable[[Request], Outcome]
Role = Literal["ends", "step", "neighbours"]
Conclusion = Literal["found", "range", "unconfirmed", "not slower", "noisy"]

DEFAULT_SECONDS = 60.0
# A comparison that is noisy when its time is over is measured longer: so many times as long in all. It is one run that
# goes on, not another one: what was measured counts, and a look that stops nothing costs no error.
LONGER = 4.0
FEWEST_RESTARTS = 5
# Other figures of the case need not be decided where an exact one is followed: restarts are for what is followed.
COARSE = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user set: seconds for a comparison unless it is noisy, the error rate of all, a limit, a metric."""

    seconds: float = DEFAULT_SECONDS
    alpha: float = 0.01
    limit: float | None = None
    metric: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One commit compared with another one. `metric` is the followed figure, or None and `reason` says why not."""

    role: Role
    commit: Commit
    against: Commit
    answer: Answer
    metric: Metric | None
    reason: str
    spent_s: float
    alpha: float
    limit: float | None


@dataclass(frozen=True)
class Result:
    """What was found. `target` and `suspects` are empty if the ends do not differ for certain."""

    commits: tuple[Commit, ...]
    conclusion: Conclusion
    ends: Step
    target: Target | None = None
    steps: tuple[Step, ...] = ()
    neighbours: Step | None = None
    search: Search | None = None

    @property
    def suspects(self) -> tuple[Commit, ...]:
        """The commits of which one is the first slower one; a single one if it was found."""
        return () if self.search is None else tuple(self.commits[position] for position in self.search.suspects)

    @property
    def partly(self) -> bool:
        """Whether the commit found explains certainly less than the whole slowdown."""
        if self.neighbours is None or self.neighbours.metric is None or self.ends.metric is None:
            return False
        return slowdown(self.neighbours.metric)[2] < slowdown(self.ends.metric)[1]


class Bisect:
    """One bisect over `commits`, GOOD first and BAD last. `tell(step, search)` is called after each comparison."""

    def __init__(
        self,
        commits: Sequence[Commit],
        measure: Measure,
        plan: Plan,
        tell: Callable[[Step, Search], None] = lambda *_: None,
    ) -> None:
        self.commits = tuple(commits)
        self.measure = measure
        self.plan = plan
        self.tell = tell
        self.search = Search.over(len(commits) - 1)
        self.spending = Spending(plan.alpha, self.search.steps_left)
        self.steps: list[Step] = []
        self.target: Target | None = None
        self.limit = COARSE
        self._leave_out: tuple[str, ...] = ()

    def run(self) -> Result:
        """Measure until the commit is found or nothing more can be told.

        Raises `OptionError` if the ends cannot be compared, and whatever `measure` raises.
        """
        ends = self._compare("ends", len(self.commits) - 1, 0, self.plan.limit)
        if self.target is None:
            return Result(self.commits, "noisy" if ends.answer == "skip" else "not slower", ends)
        while (position := self.search.next()) is not None:
            self._compare("step", position, 0, self.limit)
        neighbours = self._neighbours(ends)
        single = len(self.search.suspects) == 1
        conclusion: Conclusion = "unconfirmed" if neighbours.answer != "bad" else "found" if single else "range"
        return Result(self.commits, conclusion, ends, self.target, tuple(self.steps), neighbours, self.search)

    def _neighbours(self, ends: Step) -> Step:
        """The first bad commit against the last good one: the confirmation, and which phase did it."""
        if self.search.good == 0:  # each commit was compared with GOOD
            last = self.commits[self.search.bad].id
            return next(step for step in (*self.steps, ends) if step.commit.id == last and step.answer == "bad")
        return self._compare("neighbours", self.search.bad, self.search.good, self.limit)

    def _compare(self, role: Role, position: int, against: int, limit: float | None) -> Step:
        """Compare two commits and answer the search."""
        began_s = time.monotonic()
        commit, before = self.commits[position], self.commits[against]
        seconds, alpha = self.plan.seconds * LONGER, self._alpha(role)
        outcome = self.measure(Request(before.id, commit.id, seconds, alpha, limit, self._leave_out))
        if role == "ends":
            check_comparable(outcome, self.plan.metric, before.short, commit.short)
        answer, metric, reason = self._read(role, outcome)
        step = Step(role, commit, before, answer, metric, reason, time.monotonic() - began_s, alpha, limit)
        if role == "step":
            self.steps.append(step)
            self.search = self.search.answered(position, answer)
        self.tell(step, self.search)
        return step

    def _alpha(self, role: Role) -> float:
        """The share of one comparison: a planned one, or one more than was planned."""
        further = len(self.steps) - self.spending.steps + 1
        return self.spending.further(further) if role == "step" and further > 0 else self.spending.share

    def _read(self, role: Role, outcome: Outcome) -> tuple[Answer, Metric | None, str]:
        """The answer, the followed figure and, without one, the reason."""
        if role == "ends":
            return self._follow(outcome)
        assert self.target is not None
        found = self.target.found_in(outcome)
        if isinstance(found, str):
            return "skip", None, found
        return _answer(found, self.limit), found, ""

    def _follow(self, outcome: Outcome) -> tuple[Answer, Metric | None, str]:
        """Choose what to follow from the comparison of the ends; without a slower figure show the least certain one."""
        figures = gated(outcome.cases, self.plan.metric)
        chosen = most_slowed(figures)
        if chosen is None:
            noisy = [metric for _, metric in figures if metric.verdict == "noisy"]
            metric = max(noisy or [metric for _, metric in figures], key=lambda m: slowdown(m)[2])
            return _answer(metric, 0.0), metric, ""
        self.target = chosen[0]
        self._leave_out = tuple(case.id for case in outcome.cases if case.id != self.target.case_id)
        if not is_exact(chosen[1]):
            self.limit = self.plan.limit or halfway(slowdown(chosen[1])[0])
        return "bad", chosen[1], ""


def _answer(metric: Metric, limit: float) -> Answer:
    """What a verdict means for the search.

    A duet calls a case noisy also where it excludes a slowdown but could not have seen one; here, what is excluded is
    all that is asked.
    """
    if metric.verdict == "slower":
        return "bad"
    runs = 0 if metric.baseline is None else metric.baseline.process_runs
    excluded = metric.verdict == "noisy" and runs >= FEWEST_RESTARTS and slowdown(metric)[2] < 1 + limit
    return "good" if excluded or metric.verdict in ("same", "faster") else "skip"
