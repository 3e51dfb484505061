"""Claims about the one figure of a restart and its interval over restarts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.stats import Prior
from perfguard.stats.pairs import combine_blocks, combine_restarts
from perfguard.stats.sequence import MOST_DEGREES, confidence_sequence, learn_duet_prior

pairs = st.lists(st.tuples(*[st.floats(min_value=1e-6, max_value=10)] * 2), min_size=1, max_size=40)
differences = st.lists(st.floats(min_value=-1, max_value=1), min_size=1, max_size=20)
PRIOR = Prior(0.02, 4)


@given(pairs)
def test_swapping_the_sides_changes_the_sign_and_nothing_else(blocks: list[tuple[float, float]]) -> None:
    """The figure is as likely as its negative when both sides run the same code; the bets rest on it."""
    a, b = np.array(blocks).T
    one, other = combine_blocks(a, b), combine_blocks(b, a)
    assert one.log_ratio == -other.log_ratio
    assert one.se == other.se


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(min_value=1e-3, max_value=1e3))
def test_a_slowdown_shifts_the_figure_by_its_log(seed: int, blocks: int, factor: float) -> None:
    """Multiplying B's times by a factor adds its log and leaves the error, whatever the noise."""
    a, b = np.exp(np.random.default_rng(seed).standard_t(2, (2, blocks)))
    before, after = combine_blocks(a, b), combine_blocks(a, b * factor)
    assert after.log_ratio == pytest.approx(before.log_ratio + math.log(factor), abs=1e-9)
    assert after.se == pytest.approx(before.se, abs=1e-9)


def test_drift_and_bursts_of_the_machine_cancel() -> None:
    """A 7-fold drift that both sides share, and a neighbour that doubles four blocks in ten of one side, leave 5 %."""
    drift = np.linspace(1, 7, 40)
    a, b = drift.copy(), 1.05 * drift
    b[10:18] *= 2
    a[20:28] *= 2
    assert combine_blocks(a, b).log_ratio == pytest.approx(math.log(1.05))


def test_the_error_of_a_restart_is_what_its_figures_scatter_by() -> None:
    """Over 2000 restarts of normal noise the standard errors are within a tenth of the figures' deviation."""
    a, b = np.exp(np.random.default_rng(5).normal(0, 0.05, (2, 2000, 60)))
    figures, errors = combine_restarts(a, b)
    assert np.median(errors) == pytest.approx(figures.std(), rel=0.1)


@pytest.mark.parametrize("pairs", [3, 5, 7])
def test_of_a_few_pairs_the_figure_is_the_median(pairs: int) -> None:
    """Slow cases have three pairs: the error told is within a third of what the figures scatter by."""
    a, b = np.exp(np.random.default_rng(7).normal(0, 0.05, (2, 4000, pairs)))
    figures, errors = combine_restarts(a, b)
    assert (figures == np.median(np.log(b) - np.log(a), axis=-1)).all()
    assert np.sqrt((errors**2).mean()) == pytest.approx(figures.std(), rel=1 / 3)


def test_blocks_of_two_speeds_leave_the_pairs_that_agree() -> None:
    """A core that runs at half speed beside a busy sibling, for a third of all blocks at random: less than 1 % off."""
    rng = np.random.default_rng(6)
    a, b = np.exp(rng.normal(0, 0.01, (2, 300, 60)) + np.log(2) * (rng.random((2, 300, 60)) < 1 / 3))
    figures, _ = combine_restarts(a, b)
    assert np.quantile(np.abs(figures), 0.95) < 0.01


def test_many_restarts_at_once_are_what_each_is_alone() -> None:
    """The array form gives each restart its own figure and error."""
    times = np.exp(np.random.default_rng(2).normal(0, 0.1, (2, 3, 4, 25)))
    figures, errors = combine_restarts(*times)
    alone = combine_blocks(times[0, 2, 1], times[1, 2, 1])
    assert (figures[2, 1], errors[2, 1]) == (alone.log_ratio, alone.se)


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([], []), ([0.0], [1.0]), ([1.0], [float("nan")])])
def test_blocks_that_are_no_pairs_of_times_are_refused(a: list[float], b: list[float]) -> None:
    """Different lengths, no blocks, and figures that are no times."""
    with pytest.raises(ValueError, match="block"):
        combine_blocks(a, b)


@given(differences, st.floats(min_value=-1, max_value=1))
def test_the_interval_moves_with_the_differences(values: list[float], shift: float) -> None:
    """Adding a constant moves estimate and interval by it; the noise stays."""
    plain = confidence_sequence(values, prior=PRIOR)
    moved = confidence_sequence(np.array(values) + shift, prior=PRIOR)
    assert moved.estimate == pytest.approx(plain.estimate + shift, abs=1e-9)
    assert moved.sd == pytest.approx(plain.sd, rel=1e-6)
    assert ((plain.low <= plain.estimate) & (plain.estimate <= plain.high)).all()


@given(differences)
def test_more_confidence_is_wider(values: list[float]) -> None:
    """A larger confidence never narrows the interval at any restart."""
    lax, strict = (confidence_sequence(values, prior=PRIOR, confidence=c) for c in (0.9, 0.999))
    assert (strict.high >= lax.high).all()
    assert (strict.low <= lax.low).all()


def test_an_outlier_moves_the_estimate_by_little() -> None:
    """One restart of 50 % among twenty of 1 % noise moves the estimate by less than half a per cent."""
    d = np.random.default_rng(3).normal(0, 0.01, 20)
    before = confidence_sequence(d, prior=PRIOR).estimate[-1]
    d[5] = 0.5
    after = confidence_sequence(d, prior=PRIOR)
    assert abs(after.estimate[-1] - before) < 0.005
    assert after.sd[-1] < 0.02


def test_a_restart_that_knows_little_weighs_little() -> None:
    """A restart with a standard error of its own ten times the usual deviation moves the estimate by a hundredth."""
    d, se = np.zeros(11), np.full(11, 0.001)
    d[-1], se[-1] = 0.04, 0.2
    weighted, plain = confidence_sequence(d, se, prior=PRIOR), confidence_sequence(d, prior=PRIOR)
    assert weighted.estimate[-1] < plain.estimate[-1] / 50


def test_the_usual_noise_is_learnt_from_all_cases() -> None:
    """From 40 cases of five restarts the noise is found within a quarter, outliers among them; from two not."""
    rng = np.random.default_rng(4)
    groups = rng.normal(0, 0.005, (40, 5))
    groups[::8, 2] += 0.4
    prior = learn_duet_prior(list(groups))
    assert prior.sd == pytest.approx(0.005, rel=0.25)
    assert prior.degrees <= MOST_DEGREES
    assert learn_duet_prior(list(groups[:2]), PRIOR) == PRIOR


def test_only_finite_differences_have_intervals() -> None:
    """A figure that is none is refused."""
    with pytest.raises(ValueError, match="finite"):
        confidence_sequence([float("nan")])
