"""Claims about the scan for steps, on seeded series; how often it errs is in tests/quality and docs/history.md."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perfguard.stats.steps import find_steps, noise_of

RNG = np.random.default_rng


def test_a_step_is_found_where_it_is_as_large_as_it_is() -> None:
    """Of 5 % in noise of 1 %: one step, its place inside the range told, its size inside the interval."""
    values = RNG(1).normal(0, 0.01, 200)
    values[120:] += math.log(1.05)
    (step,) = find_steps(values)
    assert step.first < 120 <= step.last
    assert abs(step.at - 120) <= 1
    assert step.low < math.log(1.05) < step.high
    assert step.after - step.before == pytest.approx(step.size)


def test_two_steps_up_and_back_down_are_two() -> None:
    """A slowdown that was repaired twelve runs later is not averaged away."""
    values = RNG(2).normal(0, 0.01, 300)
    values[150:162] += 0.08
    up, down = find_steps(values)
    assert (abs(up.at - 150) <= 1, abs(down.at - 162) <= 1, up.size > 0, down.size < 0) == (True, True, True, True)


def test_outliers_and_a_change_of_spread_are_no_steps() -> None:
    """Lone spikes of 50 %, and noise that doubles, leave the level where it was."""
    spiky = RNG(3).normal(0, 0.02, 400)
    spiky[[50, 51, 120, 300]] += 0.5
    assert find_steps(spiky, alpha=0.05) == []
    wider = RNG(4).normal(0, 0.02, 400)
    wider[200:] *= 2
    assert find_steps(wider, alpha=0.05) == []


def test_exact_figures_have_steps_at_once_and_none_by_one_stray_run() -> None:
    """A count without noise that stays changed for three runs is a step, however small; one odd run is not."""
    counts = np.full(40, 1000.0)
    counts[20] = 1001.0
    assert find_steps(np.log(counts)) == []
    counts[37:] = 1001.0
    (step,) = find_steps(np.log(counts))
    assert (step.at, step.first, step.last) == (37, 36, 37)


def test_slow_noise_is_told_from_white() -> None:
    """The correlation from run to run is found, steps or not."""
    white = RNG(5).normal(0, 0.02, 2000)
    slow = np.zeros(2000)
    for index in range(1, 2000):
        slow[index] = 0.6 * slow[index - 1] + white[index]
    assert noise_of(white).rho < 0.1
    assert noise_of(slow).rho == pytest.approx(0.6, abs=0.1)
    assert noise_of(white).sigma == pytest.approx(0.02, rel=0.05)
    white[1000:] += 0.1
    assert noise_of(white).rho < 0.1


def test_what_cannot_be_judged_is_left_alone() -> None:
    """Too few points and constant series have no steps; values that are not finite are an error."""
    assert find_steps([1, 2, 3, 4, 5]) == []
    assert find_steps(np.ones(50)) == []
    with pytest.raises(ValueError, match="finite"):
        find_steps([1.0, math.nan] * 5)


def test_what_is_smaller_than_asked_for_is_left_out() -> None:
    """A certain step of 1 % is not told where 2 % are asked for."""
    values = RNG(6).normal(0, 0.001, 100)
    values[50:] += 0.01
    assert len(find_steps(values)) == 1
    assert find_steps(values, smallest=0.02) == []


def test_a_large_step_off_the_middle_of_the_shortest_windows_is_one_step() -> None:
    """30 % with 1 % of noise, at each place of a short series: one step, within the range that is told."""
    for at in range(4, 21):
        values = RNG(at).normal(0, 0.01, 24)
        values[at:] += 0.3
        (step,) = find_steps(values, smallest=0.02)
        assert (step.at, step.first < at <= step.last) == (at, True)
