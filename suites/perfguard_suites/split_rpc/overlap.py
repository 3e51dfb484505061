"""How much two processes worked at the same time, from the intervals in which each was busy. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Busy time of each side and of both at once, in seconds.

    `fraction`: of the shorter side's busy time, how much the other side was busy too; its bounds are 0 and 1 whatever
    the totals are.
    """

    first_s: float
    second_s: float
    both_s: float

    @property
    def either_s(self) -> float:
        """The union: time in which anyone was busy."""
        return self.first_s + self.second_s - self.both_s

    @property
    def fraction(self) -> float:
        """The intersection over the shorter side, 0 where a side was never busy."""
        shorter = min(self.first_s, self.second_s)
        return self.both_s / shorter if shorter > 0 else 0.0


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time as disjoint intervals in order; empty ones vanish."""
    result: list[Interval] = []
    for start, end in sorted(interval for interval in intervals if interval[1] > interval[0]):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result


def intersection_ns(first: Iterable[Interval], second: Iterable[Interval]) -> int:
    """Nanoseconds covered by both."""
    one, other = merged(first), merged(second)
    total = i = j = 0
    while i < len(one) and j < len(other):
        total += max(0, min(one[i][1], other[j][1]) - max(one[i][0], other[j][0]))
        if one[i][1] <= other[j][1]:
            i += 1
        else:
            j += 1
    return total


def overlap_of(first: Iterable[Interval], second: Iterable[Interval]) -> Overlap:
    """The overlap of two sides' busy intervals (ns in, seconds out)."""
    one, other = merged(first), merged(second)
    busy = [sum(end - start for start, end in side) / 1e9 for side in (one, other)]
    return Overlap(busy[0], busy[1], intersection_ns(one, other) / 1e9)
