"""Did a figure change? Today's process run against stored process runs, on the log scale.

The sampling unit is the process run: samples inside one process share its memory layout, its hash seed, its
placement and the machine's mood of that minute, so their spread says little about the next run's.
Ratios are what performance compares, so everything here is done on logarithms and given back as ratios.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of run-to-run noise before any run is seen.

    `sd` of the log figure, worth `degrees` degrees of freedom. With many stored runs their own spread takes over.
    """

    sd: float
    degrees: float


# Absolute times on shared machines drift by tens of per cent between runs; ratios measured interleaved in
# one run mostly by a few. Both are worth two observations: enough to stop three lucky runs from looking certain.
ABSOLUTE_PRIOR = Prior(sd=0.10, degrees=2.0)
PORTABLE_PRIOR = Prior(sd=0.04, degrees=2.0)
# How much of the reference kernel's change of speed a case is believed to feel, and how sure that is.
SLOPE = 0.5
SLOPE_SD = 0.5


@dataclass(frozen=True, slots=True)
class ChangeInterval:
    """Now over before: `ratio`, its interval, the run-to-run `sd` of the log figure it rests on."""

    ratio: float
    low: float
    high: float
    sd: float
    degrees: float


def change_against_runs(
    now: float, before: npt.ArrayLike, *, within_sd: float = 0.0, alpha: float = 0.01, prior: Prior = ABSOLUTE_PRIOR
) -> ChangeInterval:
    """The ratio of one new process run's figure to stored runs' figures, with a prediction interval.

    `now`: the new run's median (> 0). `before`: shape (k,), the stored runs' medians (> 0), k >= 1.
    `within_sd`: standard error of log(now) from the spread inside this process; it cannot be smaller than
    what run-to-run noise adds, so the larger of both is used. `alpha`: both-sided error of the interval.

    The variance is moderated, s^2 = (d0 s0^2 + (k-1) s_k^2) / (d0 + k-1), with d0 + k-1 degrees of freedom
    (Smyth 2004, Linear models and empirical Bayes methods, section 3), and the interval is Student's
    prediction interval for one further observation: t s sqrt(1 + 1/k).
    Raises ValueError on figures that are not positive.
    """
    logs = np.log(_positive(before))
    (value,) = np.log(_positive([now]))
    k = logs.size
    degrees = prior.degrees + k - 1
    variance = (prior.degrees * prior.sd**2 + float(((logs - logs.mean()) ** 2).sum())) / degrees
    se = math.sqrt(max(variance, within_sd**2) + variance / k)
    half = float(stdtrit(degrees, 1 - alpha / 2)) * se
    delta = float(value - logs.mean())
    return ChangeInterval(math.exp(delta), _exp(delta - half), _exp(delta + half), math.sqrt(variance), degrees)


def smallest_against_runs(
    sd: float, runs: int, *, alpha: float = 0.01, prior: Prior = ABSOLUTE_PRIOR, detection: float = 0.95
) -> float:
    """The slowdown (0.05 is 5 %) that `change_against_runs` tells from none in `detection` of runs.

    `sd` >= 0 of the log figure from run to run, `runs` >= 2 stored ones, which show just that spread; noise as normal.
    The interval's half width plus what the new run may fall short by: t s sqrt(1 + 1/k) + z sd sqrt(1 + 1/k).
    """
    degrees = prior.degrees + runs - 1
    moderated = math.sqrt((prior.degrees * prior.sd**2 + (runs - 1) * sd**2) / degrees)
    width = float(stdtrit(degrees, 1 - alpha / 2)) * moderated + float(ndtri(detection)) * sd
    return math.expm1(min(width * math.sqrt(1 + 1 / runs), 700.0))


def change_at_one_speed(
    now: float,
    before: npt.ArrayLike,
    now_reference: float,
    before_reference: npt.ArrayLike,
    *,
    alpha: float = 0.01,
    prior: Prior = ABSOLUTE_PRIOR,
) -> ChangeInterval:
    """As `change_against_runs`, for figures that move with the speed of the machine, as told by a reference's times.

    `now_reference`, `before_reference` (shape (k,)): the reference kernel's time in the same runs (> 0). The log figure
    is taken as intercept + slope * log reference + noise, the slope as normal around SLOPE before any run is seen (0:
    the case does not feel what slows the kernel; 1: it feels it in full). This is the conjugate Bayesian linear model;
    its predictive distribution is Student's with the moderated variance and

        df = d0 + k - 1,  se^2 = s^2 (1 + 1/k + (z - mean z)^2 / (Szz + r)),  r = (prior.sd / SLOPE_SD)^2,

    so that a run at a speed never seen before gets a wide interval instead of a false alarm
    (Gelman et al., Bayesian Data Analysis, 3rd ed., sections 14.2 and 14.8; Smyth 2004 for the variance).
    Raises ValueError on figures that are not positive or different shapes.
    """
    y, z = np.log(_positive(before)), np.log(_positive(before_reference))
    if y.shape != z.shape:
        raise ValueError(f"{y.size} figures, {z.size} of the reference")
    ((value,), (speed,)) = np.log(_positive([now])), np.log(_positive([now_reference]))
    ridge = (prior.sd / SLOPE_SD) ** 2
    slope, residual = _slope(y, z, ridge)
    degrees = prior.degrees + y.size - 1
    variance = (prior.degrees * prior.sd**2 + residual) / degrees
    centred = float(((z - z.mean()) ** 2).sum())
    away = float(speed - z.mean())
    half = float(stdtrit(degrees, 1 - alpha / 2)) * math.sqrt(variance * (1 + 1 / y.size + away**2 / (centred + ridge)))
    delta = float(value - y.mean()) - slope * away
    return ChangeInterval(math.exp(delta), _exp(delta - half), _exp(delta + half), math.sqrt(variance), degrees)


def at_one_speed(figures: npt.ArrayLike, reference: npt.ArrayLike, prior: Prior = ABSOLUTE_PRIOR) -> list[float]:
    """The figures, shape (k,), as they would be at the reference's mean speed: what is left is the runs' own noise."""
    y, z = np.log(_positive(figures)), np.log(_positive(reference))
    slope, _ = _slope(y, z, (prior.sd / SLOPE_SD) ** 2)
    return [float(figure) for figure in np.exp(y - slope * (z - z.mean()))]


def _slope(y: npt.NDArray[np.float64], z: npt.NDArray[np.float64], ridge: float) -> tuple[float, float]:
    """The posterior slope and the residual sum of squares, that of the slope's prior included."""
    dy, dz = y - y.mean(), z - z.mean()
    precision = float((dz**2).sum()) + ridge
    slope = (float((dz * dy).sum()) + ridge * SLOPE) / precision
    return slope, max(0.0, float((dy**2).sum()) + ridge * SLOPE**2 - precision * slope**2)


def change_against_differences(
    now: float, before: npt.ArrayLike, *, alpha: float = 0.01, prior: Prior
) -> ChangeInterval:
    """The same for fractions of a whole, which may be zero: differences instead of logarithms.

    `now`, `before` (shape (k,)) and `prior.sd` are fractions; the result's ratios are 1 + the difference, so that
    a limit of 5 % means five percentage points. Raises ValueError on figures that are not finite.
    """
    runs = np.asarray(before, dtype=np.float64).ravel()
    if runs.size == 0 or not np.isfinite([*runs, now]).all():
        raise ValueError("figures must be finite, and at least one")
    degrees = prior.degrees + runs.size - 1
    variance = (prior.degrees * prior.sd**2 + float(((runs - runs.mean()) ** 2).sum())) / degrees
    half = float(stdtrit(degrees, 1 - alpha / 2)) * math.sqrt(variance * (1 + 1 / runs.size))
    ratio = 1 + now - float(runs.mean())
    return ChangeInterval(ratio, ratio - half, ratio + half, math.sqrt(variance), degrees)


def two_sample_change(
    before: npt.ArrayLike, now: npt.ArrayLike, *, alpha: float = 0.01, prior: Prior = ABSOLUTE_PRIOR
) -> ChangeInterval:
    """The ratio of medians of two process runs known only by their samples, shapes (n,) and (m,).

    One run each says nothing about run-to-run noise, so the prior stands in for it: this interval is wide
    on purpose. Raises ValueError on figures that are not positive or empty arrays.
    """
    a, b = _positive(before), _positive(now)
    within = math.hypot(log_median_se(a), log_median_se(b))
    return change_against_runs(float(np.median(b)), [float(np.median(a))], within_sd=within, alpha=alpha, prior=prior)


def log_median_se(samples: npt.ArrayLike) -> float:
    """Standard error of the log of a sample median, from the samples' median absolute deviation.

    1.2533 sigma / sqrt(n) with sigma = 1.4826 MAD: exact for a normal core, and not moved by outliers.
    `samples`: shape (n,), positive.
    """
    logs = np.log(_positive(samples))
    sigma = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
    return 1.2533 * sigma / math.sqrt(logs.size)


def interval_sd(low: float, high: float, confidence: float) -> float:
    """The standard error of a log figure whose interval is [low, high] at `confidence`, read as normal."""
    if not (0 < low <= high) or not (0 < confidence < 1):
        return 0.0
    return math.log(high / low) / (2 * float(ndtri(0.5 + confidence / 2)))


def _positive(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or not np.isfinite(array).all() or not (array > 0).all():
        raise ValueError("figures must be finite and positive, and at least one")
    return array


def _exp(x: float) -> float:
    return math.exp(min(x, 700.0))
