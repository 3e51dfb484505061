"""Claims about evidence from bets on signs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.stats.betting import evidence, fewest_restarts, log_wealth

magnitudes = st.lists(st.floats(min_value=0, max_value=10), min_size=1, max_size=8)
differences = st.lists(st.floats(min_value=-5, max_value=5), min_size=1, max_size=25)


@given(magnitudes, st.booleans(), st.integers(0, 2**32 - 1))
def test_the_game_is_fair(sizes: list[float], with_errors: bool, seed: int) -> None:
    """Over all signs that a fair coin can give to any magnitudes, the mean wealth is exactly the stake."""
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=len(sizes))))
    errors = np.random.default_rng(seed).exponential(1.0, len(sizes)) if with_errors else None
    flips = signs * np.array(sizes)
    wealth = np.exp(log_wealth(flips, None if errors is None else np.broadcast_to(errors, flips.shape)))
    assert wealth.mean(axis=0) == pytest.approx(1.0, rel=1e-9)


@given(magnitudes, st.sampled_from([2.0, 5.0, 20.0]))
def test_luck_is_bounded_however_often_one_looks(sizes: list[float], threshold: float) -> None:
    """Of all signs, at most the share 1/threshold ever brings the wealth to the threshold (Ville)."""
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=len(sizes))))
    assert (evidence(signs * np.array(sizes))[:, -1] >= threshold).mean() <= 1 / threshold


@given(differences, st.floats(min_value=1e-3, max_value=1e3))
def test_the_unit_of_the_differences_does_not_matter(values: list[float], factor: float) -> None:
    """Only the relative size of restarts counts, so figures of any noise level are served alike."""
    d = np.array([v if abs(v) > 1e-6 else 0.0 for v in values])
    assert log_wealth(d * factor) == pytest.approx(log_wealth(d), rel=1e-6, abs=1e-9)


@given(differences, differences)
def test_later_restarts_change_nothing_of_the_past(first: list[float], later: list[float]) -> None:
    """The wealth after n restarts depends on these alone, and evidence never falls."""
    whole = log_wealth(first + later)
    assert np.array_equal(whole[: len(first)], log_wealth(first))
    assert (np.diff(evidence(first + later)) >= 0).all()


@given(st.lists(st.floats(min_value=0.01, max_value=5), min_size=1, max_size=20))
def test_too_few_restarts_cannot_alarm(sizes: list[float]) -> None:
    """However large the differences, n restarts bring no more than the bound says."""
    reached = float(evidence(sizes)[-1])
    assert fewest_restarts(reached) <= len(sizes)
    assert fewest_restarts(1.0) == 1


def test_agreeing_restarts_reach_the_threshold_in_time() -> None:
    """Restarts that all show the same slowdown alarm after at most one more than the fewest possible."""
    for threshold in (100.0, 4_000.0, 10_000.0):
        reached = evidence(np.full(20, 0.05)) >= threshold
        assert int(reached.argmax()) + 1 <= fewest_restarts(threshold) + 1


def test_one_restart_far_out_does_not_undo_the_rest() -> None:
    """A process that ran at half speed by itself costs a few restarts, not the verdict."""
    d = np.full(20, 0.05)
    d[7] = -0.7
    assert evidence(d)[-1] > 4_000


def test_a_restart_with_a_large_error_of_its_own_hardly_counts() -> None:
    """Against a restart whose blocks scatter more than restarts differ, almost nothing is staked."""
    d, se = np.full(10, 0.05), np.full(10, 0.001)
    d[-1], se[-1] = -0.06, 0.5
    drop = np.diff(log_wealth(d, se))[-1]
    assert -0.15 < drop < 0
    assert np.diff(log_wealth(d))[-1] < -1


def test_cases_are_independent_rows() -> None:
    """Many cases at once give each what it gets alone."""
    rows = np.random.default_rng(1).normal(0, 1, (3, 2, 12))
    assert np.array_equal(log_wealth(rows)[2, 1], log_wealth(rows[2, 1]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_only_finite_differences(bad: float) -> None:
    """A figure that is none is refused."""
    with pytest.raises(ValueError, match="finite"):
        log_wealth([0.1, bad])
