"""Which commit to try next, and what is known so far: a pure state, without git and without measuring.

Commits are numbered along the history: 0 is the good end, `size` the bad one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

Answer = Literal["good", "bad", "skip"]


@dataclass(frozen=True, slots=True)
class Search:
    """The last commit known to be good, the first known to be bad, and those that cannot be told."""

    good: int
    bad: int
    skipped: frozenset[int] = frozenset()

    @classmethod
    def over(cls, size: int) -> Search:
        """The search before its first step. Raises ValueError if there is nothing between good and bad to find."""
        if size < 1:
            raise ValueError(f"a history of {size} commits")
        return cls(0, size)

    @property
    def suspects(self) -> range:
        """The commits of which one is the first bad one, by what is known so far."""
        return range(self.good + 1, self.bad + 1)

    @property
    def steps_left(self) -> int:
        """How many good or bad answers are needed at most, if nothing more is skipped."""
        untested = sum(position not in self.skipped for position in range(self.good + 1, self.bad))
        return math.ceil(math.log2(untested + 1))

    def next(self) -> int | None:
        """The commit to try, or None if no further answer is to be had.

        The middle one. Around commits that were skipped it looks further away with each of them, since neighbours of a
        commit that cannot be built mostly cannot be built either; but never so far that an answer would leave more
        than three quarters of the range, unless only those are left.
        """
        inside = range(self.good + 1, self.bad)
        untested = [position for position in inside if position not in self.skipped]
        if not untested:
            return None
        middle = (self.good + self.bad) // 2
        if middle not in self.skipped:
            return middle
        skips = len(inside) - len(untested)
        quarter = (self.bad - self.good) // 4
        central = [p for p in untested if self.good + quarter <= p <= self.bad - quarter]
        aim = middle + (-1) ** skips * 2 ** min(skips - 1, 30)
        aim = min(max(aim, self.good + quarter), self.bad - quarter)
        return min(central or untested, key=lambda position: (abs(position - aim), position))

    def answered(self, position: int, answer: Answer) -> Search:
        """The state after `position` was tried. Raises ValueError for one that was no question."""
        if position not in range(self.good + 1, self.bad) or position in self.skipped:
            raise ValueError(f"{position} does not lie untested between {self.good} and {self.bad}")
        if answer == "skip":
            return replace(self, skipped=self.skipped | {position})
        return replace(self, good=position) if answer == "good" else replace(self, bad=position)


@dataclass(frozen=True, slots=True)
class Spending:
    """How one error rate is shared among comparisons whose number is not known in advance.

    Both ends, the `steps` answers that the search needs, and the last comparison of neighbours have a share each; one
    more share is for the steps that skipped commits add: the j-th of those gets 1 / (j (j + 1)) of it. By the union
    bound, the chance of any false alarm is at most `alpha` however many there are.
    """

    alpha: float
    steps: int

    @property
    def share(self) -> float:
        """What each planned comparison may spend."""
        return self.alpha / (self.steps + 3)

    def further(self, j: int) -> float:
        """What the j-th further comparison may spend, j = 1, 2, ..."""
        return self.share / (j * (j + 1))


def halfway(slowdown: float) -> float:
    """The limit that tells commits near GOOD from commits near BAD: on the log scale, half of `slowdown` (1.08).

    A fraction, 0.039 for 1.08. A step is bad if it is certainly slower than GOOD and may be so by the limit or more,
    and good if that much is excluded: half the slowdown lies between what is told and either mistake.
    """
    return math.sqrt(max(slowdown, 1.0)) - 1
