"""Intervals of a median that assume nothing about the distribution of timings.

Timings are skewed, heavy-tailed and often bimodal, so no interval here rests on normality. What they do
assume is independent samples; inside one process that is not true, which is why the gate compares
process runs (`perfguard.stats.change`) and never these intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval. `confidence` is the coverage really reached, not the one asked for."""

    estimate: float
    low: float
    high: float
    confidence: float

    @property
    def relative_half_width(self) -> float:
        """Half the interval's width over the estimate; infinite where the estimate is zero."""
        if self.estimate == 0:
            return 0.0 if self.low == self.high else float("inf")
        return (self.high - self.low) / 2 / abs(self.estimate)


def median_interval(samples: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """The median with its distribution-free interval from order statistics.

    The number of samples below the true median is Binomial(n, 1/2), so [x(k), x(n+1-k)] covers it with
    probability 1 - 2 P(B < k); the largest such k that reaches `confidence` is taken. Where even [min, max]
    does not reach it (n < 6 for 95 %), that interval is returned with the coverage it has.
    Source: David & Nagaraja, Order Statistics, 3rd ed., section 7.1.

    `samples`: shape (n,), any unit, n >= 1. Raises ValueError on an empty or non-finite array.
    """
    values = np.sort(np.asarray(samples, dtype=np.float64).ravel())
    n = values.size
    if n == 0:
        raise ValueError("no samples")
    if not np.isfinite(values).all():
        raise ValueError("samples are not finite")
    tail = bdtr(np.arange((n + 1) // 2), n, 0.5)  # tail[k-1] = P(B <= k-1), the miss on one side for rank k
    enough = np.flatnonzero(tail <= (1 - confidence) / 2)
    rank = int(enough[-1]) if enough.size else 0
    return Interval(
        estimate=float(np.median(values)),
        low=float(values[rank]),
        high=float(values[n - 1 - rank]),
        confidence=max(0.0, 1.0 - 2.0 * float(tail[rank])),
    )


def ratio_interval(numerator: npt.ArrayLike, denominator: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """The median of the paired ratios numerator[i] / denominator[i], with its order-statistics interval.

    Both of shape (n,), positive, measured in the same round i: whatever slowed the machine in that round
    slowed both, and cancels. Raises ValueError on different shapes or figures that are not positive.
    """
    top = np.asarray(numerator, dtype=np.float64).ravel()
    bottom = np.asarray(denominator, dtype=np.float64).ravel()
    if top.shape != bottom.shape:
        raise ValueError(f"{top.size} numerators, {bottom.size} denominators")
    if not (top > 0).all() or not (bottom > 0).all():
        raise ValueError("a ratio of times needs positive times")
    return median_interval(top / bottom, confidence)
