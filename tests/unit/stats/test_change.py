"""Claims about changes against stored process runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.stats import Prior, change_against_runs, two_sample_change
from perfguard.stats.change import (
    at_one_speed,
    change_against_differences,
    change_at_one_speed,
    interval_sd,
    log_median_se,
)
from perfguard.stats.prior import learn_prior

times = st.floats(min_value=1e-7, max_value=1e3)
PRIOR = Prior(sd=0.05, degrees=2)


@given(times, st.lists(times, min_size=1, max_size=10), st.floats(min_value=0.01, max_value=100))
def test_the_unit_does_not_matter(now: float, before: list[float], factor: float) -> None:
    """Ratios are the same whatever unit both sides are in."""
    plain = change_against_runs(now, before, prior=PRIOR)
    scaled = change_against_runs(now * factor, [b * factor for b in before], prior=PRIOR)
    assert math.isclose(plain.ratio, scaled.ratio, rel_tol=1e-6)
    assert plain.low <= plain.ratio <= plain.high


@given(times, st.lists(times, min_size=2, max_size=10))
def test_less_error_means_a_wider_interval(now: float, before: list[float]) -> None:
    """A smaller alpha never narrows the interval."""
    strict = change_against_runs(now, before, alpha=0.001, prior=PRIOR)
    lax = change_against_runs(now, before, alpha=0.1, prior=PRIOR)
    assert strict.low <= lax.low
    assert strict.high >= lax.high


def test_one_stored_run_leans_on_the_prior_alone() -> None:
    """With one stored run the standard deviation is the prior's, and the interval says sqrt(2) of it."""
    change = change_against_runs(1.0, [1.0], alpha=0.05, prior=PRIOR)
    assert change.sd == pytest.approx(0.05)
    assert math.log(change.high) == pytest.approx(4.302653 * 0.05 * math.sqrt(2), rel=1e-5)  # t(2 df, 97.5 %)


def test_noise_inside_this_process_widens_the_interval() -> None:
    """Today's own spread counts where it is larger than run-to-run noise, and not on top of it."""
    runs = [1.0, 1.01, 0.99]
    quiet = change_against_runs(1.0, runs, prior=PRIOR)
    assert change_against_runs(1.0, runs, within_sd=0.01, prior=PRIOR) == quiet
    assert change_against_runs(1.0, runs, within_sd=0.5, prior=PRIOR).high > 2 * quiet.high


def test_false_alarms_over_a_suite_stay_near_alpha() -> None:
    """With noise as the prior says, 40 metrics at alpha/40 each alarm in about alpha of the runs."""
    rng = np.random.default_rng(11)
    prior = Prior(0.05, 30)
    alarms = 0
    for _ in range(400):
        draws = np.exp(rng.normal(0, 0.05, (40, 6)))
        alarms += any(change_against_runs(row[5], row[:5], alpha=0.01 / 40, prior=prior).low > 1 for row in draws)
    assert alarms <= 8  # 0.5 % expected one-sided: 2 of 400; 9 or more has probability 2e-4


def test_fractions_are_compared_by_difference() -> None:
    """A fraction may be zero; its change is 1 + the difference in points."""
    change = change_against_differences(0.05, [0.0, 0.02], prior=Prior(0.01, 2))
    assert change.ratio == pytest.approx(1.04)
    assert change.low < 1.04 < change.high


def test_two_runs_known_by_samples_get_an_honest_width() -> None:
    """One process run a side cannot show 5 %: the prior's run-to-run noise stands in the interval."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(1, 0.001, 500), rng.normal(1.05, 0.001, 500)
    change = two_sample_change(a, b)
    assert change.ratio == pytest.approx(1.05, abs=0.001)
    assert change.low < 1 < change.high


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_only_positive_figures_have_ratios(bad: float) -> None:
    """Zero, negative and non-finite figures are refused on either side."""
    with pytest.raises(ValueError, match="positive"):
        change_against_runs(bad, [1.0], prior=PRIOR)
    with pytest.raises(ValueError, match="positive"):
        change_against_runs(1.0, [1.0, bad], prior=PRIOR)


def test_the_prior_is_learnt_from_all_metrics() -> None:
    """From 200 metrics with five runs each the usual noise is found within a tenth; from two it is not guessed."""
    rng = np.random.default_rng(5)
    groups = [np.exp(rng.normal(0, 0.03, 5)) for _ in range(200)]
    assert learn_prior(groups, PRIOR).sd == pytest.approx(0.03, rel=0.1)
    assert learn_prior(groups[:2], PRIOR) == PRIOR


def test_standard_errors_agree_with_theory_on_normal_data() -> None:
    """The median's standard error from MAD is 1.2533 sigma / sqrt(n); from an interval it comes back as it went in."""
    rng = np.random.default_rng(9)
    assert log_median_se(np.exp(rng.normal(0, 0.1, 40_000))) == pytest.approx(1.2533 * 0.1 / 200, rel=0.05)
    assert interval_sd(math.exp(-1.959964 * 0.02), math.exp(1.959964 * 0.02), 0.95) == pytest.approx(0.02)
    assert interval_sd(0.0, 1.0, 0.95) == 0.0


def runs_at_speeds(
    rng: np.random.Generator, runs: int, slope: float, sd: float = 0.01
) -> tuple[np.ndarray, np.ndarray]:
    """Figures and the reference's times of runs whose machine is up to twice as slow, of a case that feels `slope`."""
    speed = np.exp(rng.uniform(0, math.log(2), runs))
    return speed**slope * np.exp(rng.normal(0, sd, runs)), speed


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_a_slower_machine_is_no_change_of_the_code(slope: float) -> None:
    """Runs at speeds that differ by a factor of two: false alarms stay at alpha, and +20 % is found every time."""
    rng = np.random.default_rng(7)
    alarms = found = 0
    for _ in range(300):
        figures, speeds = runs_at_speeds(rng, 11, slope)
        for factor in (1.0, 1.2):
            told = change_at_one_speed(
                factor * figures[-1], figures[:-1], speeds[-1], speeds[:-1], alpha=0.02, prior=Prior(0.01, 5)
            )
            alarms += factor == 1.0 and told.low > 1
            found += factor == 1.2 and told.low > 1
    assert alarms <= 9  # 3 expected: each side may err with 1 %
    assert found == 300


def test_a_speed_never_seen_before_makes_no_alarm() -> None:
    """Ten runs at one speed say nothing of how a case feels another: a machine twice as slow gives a wide interval."""
    figures, speeds = np.full(10, 1.0), np.full(10, 1.0)
    told = change_at_one_speed(1.9, figures, 2.0, speeds, prior=Prior(0.01, 5))
    assert told.low < 1 < told.high


def test_at_one_speed_only_the_runs_own_noise_is_left() -> None:
    """Twofold differences that the reference explains are gone; the figures' mean level stays."""
    figures, speeds = runs_at_speeds(np.random.default_rng(8), 10, 1.0)
    left = at_one_speed(figures, speeds, Prior(0.01, 5))
    assert np.log(left).std() < 0.03 < np.log(figures).std()
    assert np.log(left).mean() == pytest.approx(np.log(figures).mean())


def test_figures_without_their_speeds_are_refused() -> None:
    """One reference time for each run."""
    with pytest.raises(ValueError, match="of the reference"):
        change_at_one_speed(1.0, [1.0, 1.1], 1.0, [1.0])
