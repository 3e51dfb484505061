"""Claims about how a duet spreads its time: long enough for the noise, short enough for enough restarts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.duet.pace import LEAST_S, MOST_S, Pace, budgets, wanted_restarts, wanted_s

seconds = st.floats(min_value=1e-3, max_value=100)


def test_four_times_the_time_halves_the_error() -> None:
    """A restart twice as noisy as wanted is timed four times as long; one as quiet as wanted stays."""
    assert wanted_s(0.02, 0.2, 0.03) == pytest.approx(0.8)
    assert wanted_s(0.01, 0.2, 0.03) == pytest.approx(0.2)


def test_a_large_change_needs_no_long_restarts() -> None:
    """At the same noise a change of 20 % is timed shorter than one of 3 %."""
    assert wanted_s(0.02, 0.2, 0.2) < wanted_s(0.02, 0.2, 0.03)


@given(seconds, seconds, seconds)
def test_bounds_hold(se: float, timed_s: float, change: float) -> None:
    """Never nothing, never more than a restart may take."""
    assert LEAST_S <= wanted_s(se, timed_s, change) <= MOST_S


@given(st.dictionaries(st.text(min_size=1), seconds, min_size=1, max_size=8), seconds, st.integers(1, 40))
def test_what_is_left_suffices_for_the_restarts_left(wanted: dict[str, float], left_s: float, restarts: int) -> None:
    """Blocks are cut in proportion until all restarts fit, but for the least that a case gets."""
    pace = Pace(0.1, 0.01, left_s, restarts)
    given_s = budgets(wanted, pace)
    share_s = left_s / restarts - 0.1 - 0.01 * len(wanted)
    assert sum(given_s.values()) <= max(share_s, 0) + LEAST_S * len(wanted) + 1e-9
    assert all(given_s[case] <= max(LEAST_S, wanted[case]) for case in wanted)


def test_nothing_undecided_needs_no_time() -> None:
    """No case, no seconds."""
    assert budgets({}, Pace(1, 1, 10, 3)) == {}


def test_restarts_wanted_are_twice_what_an_alarm_takes() -> None:
    """And never more than there may be."""
    assert wanted_restarts(12, 40) == 26
    assert wanted_restarts(30, 40) == 40
