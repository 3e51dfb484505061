"""The clock: what one reading costs and how finely it resolves, so that rounds are long enough to trust."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter_ns

Clock = Callable[[], int]

# A round lasts at least this many clock readings, so that reading the clock stays under a thousandth of it.
READINGS_PER_ROUND = 1000


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """`cost_ns`: nanoseconds for one reading (median of many). `step_ns`: the smallest difference seen."""

    cost_ns: float
    step_ns: int

    @property
    def shortest_round_ns(self) -> float:
        """The shortest block of calls worth timing."""
        return READINGS_PER_ROUND * max(self.cost_ns, self.step_ns)


def inspect_clock(clock: Clock = perf_counter_ns, blocks: int = 21, readings: int = 200) -> ClockFacts:
    """Measure a clock by reading it. A clock that goes backwards in here is treated as step 1."""
    costs: list[float] = []
    step = 1 << 62
    for _ in range(blocks):
        stamps = [clock() for _ in range(readings)]
        costs.append(max(0, stamps[-1] - stamps[0]) / (readings - 1))
        steps = [b - a for a, b in pairwise(stamps) if b > a]
        if steps:
            step = min(step, *steps)
    costs.sort()
    return ClockFacts(costs[len(costs) // 2], step if step < 1 << 62 else 1)


@functools.lru_cache(maxsize=1)
def system_clock() -> ClockFacts:
    """`perf_counter_ns` as found on this machine, measured once a process (about a millisecond)."""
    return inspect_clock()
