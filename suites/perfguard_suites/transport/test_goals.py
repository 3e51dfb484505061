"""The goals of the design, each a ratio of two alternatives timed in turn in one run (see `goals.GOALS`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from perfguard import Perfguard
from perfguard.document import Direction
from perfguard.measure import Comparison
from perfguard.stats import median_interval
from perfguard_suites.goals import note_goal
from perfguard_suites.transport.alternatives import Trip
from perfguard_suites.transport.goals import GOALS, Goal, measure_kills, open_alternatives
from perfguard_suites.transport.spin_cost import measure_spin_costs

# Small messages are timed warm and in blocks; megabytes one call at a time, in the state in which the others left the
# caches: a copy repeated in place would stay in a cache that no stream of messages ever has to itself.
SMALL = tuple(goal for goal in GOALS if "64 B" in goal.name or "empty" in goal.name or "loaned" in goal.name)
LARGE = tuple(goal for goal in GOALS if goal not in SMALL)


@pytest.mark.perfguard(limit="50%", budget_s=5)
def test_small_messages(perfguard: Perfguard) -> None:
    """Wake-ups and loans: ratios of round trips that move no payload."""
    with opened(SMALL) as trips:
        _record(perfguard, perfguard.compare(trips, record=False, block_s=5e-3), SMALL)


@pytest.mark.perfguard(limit="50%", budget_s=25)
def test_large_messages(perfguard: Perfguard) -> None:
    """Copies: ratios of transports to the machine's own memcpy of the same bytes, and to each other."""
    if not perfguard.enabled:
        pytest.skip("moves gigabytes: measured under --perfguard only")
    with opened(LARGE) as trips:
        _record(perfguard, perfguard.compare(trips, record=False, block_s=0.0, settle=False), LARGE)


@contextlib.contextmanager
def opened(goals: Sequence[Goal]) -> Iterator[dict[str, Trip]]:
    """All alternatives that the goals compare, each ready to be called."""
    with open_alternatives(sorted({name for goal in goals for name in (goal.numerator, goal.denominator)})) as trips:
        yield trips


def _record(perfguard: Perfguard, comparison: Comparison, goals: Sequence[Goal]) -> None:
    for goal in goals:
        ratios = comparison.ratios(goal.numerator, goal.denominator) / goal.factor
        direction: Direction = "higher" if goal.at_least else "lower"
        perfguard.record(goal.metric, ratios, unit="", kind="ratio", direction=direction)
        found = median_interval(ratios)
        note_goal(
            perfguard,
            goal.name,
            found.estimate,
            at_least=goal.bound if goal.at_least else None,
            at_most=None if goal.at_least else goal.bound,
            remark=f"95 % interval {found.low:.3g} to {found.high:.3g}, n={comparison.rounds}",
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
