"""Claims about intervals of medians and ratios."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.stats import median_interval, ratio_interval

figures = st.floats(min_value=1e-9, max_value=1e9, allow_nan=False)


@given(st.lists(figures, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_holds_the_median_and_lies_within_the_samples(values: list[float], confidence: float) -> None:
    """The median lies in its interval, and both ends are samples."""
    interval = median_interval(values, confidence)
    assert interval.low <= interval.estimate <= interval.high
    assert interval.low in values
    assert interval.high in values


@given(st.lists(figures, min_size=1, max_size=60), st.floats(min_value=1e-3, max_value=1e3))
def test_scaling_the_samples_scales_the_interval(values: list[float], factor: float) -> None:
    """A change of unit changes nothing but the unit."""
    plain, scaled = median_interval(values), median_interval([v * factor for v in values])
    assert math.isclose(scaled.low, plain.low * factor, rel_tol=1e-9)
    assert math.isclose(scaled.high, plain.high * factor, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("n", "low", "high", "confidence"),
    [
        # textbook ranks: n = 10 gives [x(2), x(9)] with 97.85 %, n = 20 gives [x(6), x(15)] with 95.86 %
        (10, 2, 9, 1 - 2 * 11 / 1024),
        (20, 6, 15, 0.958611),
        # five samples cannot reach 95 %: [min, max] covers 93.75 %, and says so
        (5, 1, 5, 0.9375),
        (1, 1, 1, 0.0),
    ],
)
def test_ranks_are_those_of_the_binomial_tables(n: int, low: int, high: int, confidence: float) -> None:
    """The ranks and the coverage are the published ones, also where the coverage asked for is out of reach."""
    interval = median_interval(np.arange(1, n + 1), 0.95)
    assert (interval.low, interval.high) == (low, high)
    assert interval.confidence == pytest.approx(confidence, abs=1e-6)


def test_coverage_is_what_it_says_on_skewed_data() -> None:
    """Over many draws of a heavy-tailed distribution the interval covers the true median as often as it claims."""
    rng = np.random.default_rng(7)
    intervals = [median_interval(rng.lognormal(0, 1.5, 25)) for _ in range(2000)]
    covered = np.mean([i.low <= 1.0 <= i.high for i in intervals])
    assert covered >= 0.94  # claims 0.957; the binomial error of 2,000 draws is 0.0045
    assert intervals[0].confidence >= 0.95


def test_paired_ratios_cancel_what_both_share() -> None:
    """A drift that slows both alternatives of a round leaves their ratio exact."""
    drift = np.linspace(1, 7, 40)
    interval = ratio_interval(2 * drift, drift)
    assert (interval.low, interval.estimate, interval.high) == (2, 2, 2)


@pytest.mark.parametrize("bad", [[], [float("nan")], [1.0, float("inf")]])
def test_no_interval_of_nothing(bad: list[float]) -> None:
    """Empty and non-finite samples are refused."""
    with pytest.raises(ValueError, match=r"samples|finite"):
        median_interval(bad)


def test_a_ratio_needs_pairs_of_positive_times() -> None:
    """Different lengths and zero times are refused."""
    with pytest.raises(ValueError, match="numerators"):
        ratio_interval([1, 2], [1])
    with pytest.raises(ValueError, match="positive"):
        ratio_interval([1, 0], [1, 1])
