"""Change points of a short series of figures: pure functions on arrays, no I/O."""

from __future__ import annotations

import numpy as np

from perfguard_tui.points import Floats

LEAST = 3  # figures on each side of a change point
_SHUFFLES = 400
_ALPHA = 0.05


def change_points(values: Floats, seed: int = 1) -> tuple[int, ...]:
    """Positions at which a new level begins: binary segmentation, each split tested by shuffling.

    A split is kept if the largest standardised difference of the means of its two sides is exceeded in at most 5 %
    of 400 shuffles (Edgington and Onghena, "Randomization Tests", 2007). With fewer than 8 figures there is none.
    """
    found: list[int] = []
    rng = np.random.default_rng(seed)
    _split(np.asarray(values, dtype=np.float64), 0, rng, found)
    return tuple(sorted(found))


def _split(values: Floats, offset: int, rng: np.random.Generator, found: list[int]) -> None:
    if len(values) < 8 or float(np.ptp(values)) == 0.0:
        return
    at, score = _best(values)
    beyond = sum(_best(rng.permutation(values))[1] >= score for _ in range(_SHUFFLES))
    if (beyond + 1) / (_SHUFFLES + 1) > _ALPHA:
        return
    found.append(offset + at)
    _split(values[:at], offset, rng, found)
    _split(values[at:], offset + at, rng, found)


def _best(values: Floats) -> tuple[int, float]:
    """The split with the largest difference of means, in units of its standard error for equal variances."""
    n = len(values)
    at = np.arange(LEAST, n - LEAST + 1)
    sums = np.cumsum(values)
    left, right = sums[at - 1] / at, (sums[-1] - sums[at - 1]) / (n - at)
    score = np.abs(left - right) * np.sqrt(at * (n - at) / n)
    best = int(score.argmax())
    return int(at[best]), float(score[best])
