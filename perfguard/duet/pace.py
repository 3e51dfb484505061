"""How long to time each case in the next restart: the time that is left, spread over the restarts still wanted.

Alarms need a dozen restarts that mostly agree (`perfguard.stats.betting`), and whether they agree is a matter of how
noisy each one is. So a case is timed as long as its own noise asks for, as far as the time suffices for enough
restarts of all cases that are undecided. What is decided here rests on earlier restarts alone, so that
the coin of the next one stays fair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Of the fewest restarts that could raise an alarm; one that disagrees costs four more.
ENOUGH = 2.2
# Seconds of blocks, both sides together: of the first restart, and the bounds of later ones.
FIRST_S = 0.2
LEAST_S = 0.1
MOST_S = 2.0
# A restart's standard error as a part of the change to be told: it then points the right way in 99.9 % of restarts.
TARGET = 1 / 3


@dataclass(frozen=True, slots=True)
class Pace:
    """What a restart costs, and the time that is left for how many of them.

    `fixed_s`: starting and ending both workers; `case_s`: each case, besides its blocks.
    """

    fixed_s: float
    case_s: float
    left_s: float
    restarts_left: int


def wanted_restarts(fewest: int, most: int) -> int:
    """How many restarts a case is likely to need at most, if alarms take `fewest`."""
    return max(1, min(most, round(ENOUGH * fewest)))


def wanted_s(se: float, timed_s: float, change: float) -> float:
    """Seconds of blocks after which a restart's standard error is `TARGET` of `change`, within the bounds.

    `se`: its standard error after `timed_s` seconds of blocks; errors fall with the square root of the time. `change`:
    the limit, or what the restarts so far say, if that is more: a large change needs restarts, not long ones.
    """
    target = max(change * TARGET, 1e-9)
    return min(MOST_S, max(LEAST_S, timed_s * (se / target) ** 2))


def budgets(wanted: Mapping[str, float], pace: Pace) -> dict[str, float]:
    """Seconds of blocks for each case in the next restart: as wanted, or cut in proportion where time is short."""
    if not wanted:
        return {}
    share_s = pace.left_s / max(1, pace.restarts_left) - pace.fixed_s - len(wanted) * pace.case_s
    factor = min(1.0, max(0.0, share_s) / sum(wanted.values()))
    return {case: max(LEAST_S, seconds * factor) for case, seconds in wanted.items()}
