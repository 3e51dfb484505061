"""When the doorbell spins: the bookkeeping alone."""

from __future__ import annotations

import itertools

import pytest

from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US, Spin
from perfguard_suites.transport.shm_region import TOTAL_STORE_ORDER

pytestmark = pytest.mark.skipif(not TOTAL_STORE_ORDER, reason="spins only where stores keep their order")


def budgets(spin: Spin, waits: int) -> list[int]:
    taken = []
    for _ in range(waits):
        budget = spin.budget_ns()
        taken.append(budget)
        if budget:
            spin.failed()
    return taken


def test_spinning_stops_after_failures_and_is_tried_again() -> None:
    """Three failures, then a pause of 32 waits, one try, a pause of 64: never off for good, never often."""
    taken = budgets(Spin(40), 3 + 32 + 1 + 64 + 1)
    assert [position for position, budget in enumerate(taken) if budget] == [0, 1, 2, 35, 100]


def test_pauses_are_bounded() -> None:
    """However long nothing succeeds, every 257th wait tries."""
    taken = budgets(Spin(40), 5000)
    tries = [position for position, budget in enumerate(taken) if budget]
    assert max(later - earlier for earlier, later in itertools.pairwise(tries)) == 257


def test_a_success_forgets_the_failures() -> None:
    """After a message came in time, three more failures are allowed."""
    spin = Spin(40)
    spin.failed()
    spin.failed()
    spin.succeeded()
    assert budgets(spin, 4) == [40_000] * 3 + [0]


def test_a_try_reaches_as_far_as_a_short_blocked_wait_but_not_farther() -> None:
    """Two ends that both block find out that spinning would do; a long wait does not lengthen the spin."""
    spin = Spin(40)
    spin.blocked(100_000)
    assert spin.budget_ns() == 125_000
    spin.blocked(1_000_000)
    assert spin.budget_ns() == 40_000


def test_no_budget_never_spins() -> None:
    """`spin_us=0` blocks always."""
    spin = Spin(0)
    spin.blocked(10_000)
    assert budgets(spin, 100) == [0] * 100


def test_a_long_spin_gives_way_and_a_short_one_does_not() -> None:
    """A peer that was just woken on this CPU runs at once beside a long spin; a short one is over before that helps."""
    assert Spin(3000).yields
    assert not Spin(DEFAULT_SPIN_US).yields
