"""The goals of the design, each a ratio of two alternatives timed in turn in one run (see `goals.GOALS`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from perfguard import Perfguard
from perfguard_suites.goals import note_goal
from perfguard_suites.transport.alternatives import Trip
from perfguard_suites.transport.goals import GOALS, Goal, measure_kills, open_alternatives
from perfguard_suites.transport.spin_cost import measure_spin_costs

# Untimed, an ordinary test run moves small messages only.
SMALL = ("64 B", "4 KiB", "empty", "bare")


@pytest.fixture(scope="module")
def trips() -> Iterator[Callable[[Goal], tuple[Trip, Trip]]]:
    """The two alternatives of a goal, from processes that serve the whole module."""
    names = sorted({name for goal in GOALS for name in (goal.numerator, goal.denominator)})
    with open_alternatives(names) as opened:
        yield lambda goal: (opened[goal.numerator], _times(opened[goal.denominator], int(goal.factor)))


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.metric)
@pytest.mark.perfguard(limit="50%", budget_s=1.0)
def test_goal(perfguard: Perfguard, trips: Callable[[Goal], tuple[Trip, Trip]], goal: Goal) -> None:
    """A ratio of the design, against its goal and against the baseline."""
    if not perfguard.enabled and not any(word in goal.numerator for word in SMALL):
        pytest.skip("moves megabytes: measured under --perfguard only")
    numerator, denominator = trips(goal)
    comparison = perfguard.compare({"denominator": denominator, "numerator": numerator}, record=False)
    perfguard.record_ratio(
        comparison, goal.metric, "numerator", "denominator", direction="higher" if goal.at_least else "lower"
    )
    ratio = comparison.ratio("numerator", "denominator")
    note_goal(
        perfguard,
        goal.name,
        ratio.estimate,
        at_least=goal.bound if goal.at_least else None,
        at_most=None if goal.at_least else goal.bound,
        remark=f"95 % interval {ratio.low:.3g} to {ratio.high:.3g}, n={comparison.rounds}",
    )


@pytest.mark.perfguard(limit="200%")
def test_killed_peer(perfguard: Perfguard) -> None:
    """A server killed at a random moment is noticed within 20 ms and leaves nothing behind."""
    kills = 10 if perfguard.enabled else 1
    noticed, left = measure_kills(kills)
    perfguard.record("kill_noticed_s", noticed.ratio / 1000, unit="s", gated=False)
    perfguard.count("left_behind", int(left.ratio))
    note_goal(
        perfguard,
        "a killed peer noticed",
        noticed.ratio / 1000,
        at_most=noticed.goal.bound / 1000,
        unit="s",
        remark=f"worst of {kills} kills",
    )
    assert left.ratio == 0


def test_spin_cost(perfguard: Perfguard) -> None:
    """What the doorbell's bounded spin costs in CPU, idle and in ping-pong, alone and beside a busy neighbour."""
    for cost in measure_spin_costs(0.3 if perfguard.enabled else 0.02):
        name = cost.name.replace(", ", "_").replace(" ", "_").replace("-", "_")
        perfguard.record(f"{name}_cpu", (cost.client + cost.server) / 2, unit="", kind="fraction", gated=False)
        if cost.trip_us:
            perfguard.record(f"{name}_trip", cost.trip_us / 1e6, unit="s", gated=False)


def _times(trip: Trip, factor: int) -> Trip:
    """`trip` that many times: a round trip is compared with a copy each way."""
    if factor == 1:
        return trip

    def repeated() -> None:
        for _ in range(factor):
            trip()

    return repeated
