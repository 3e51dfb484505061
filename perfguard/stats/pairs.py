"""From the blocks of one process restart to its one figure: the log ratio B over A, with a standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfguard.stats.quantiles import Array

FEWEST_PAIRS = 8
MEDIAN_SE = 1.2533  # of a median, in standard errors of the mean, for normal noise
ROUNDS = 30  # of reweighting; the tenth moves the figure by less than a thousandth of its error
WIDTH = 1.5
NORMAL_LOWER_QUARTILE = 0.3186  # of |z|


@dataclass(frozen=True, slots=True)
class RestartFigure:
    """One restart of one case: `log_ratio` = log(B / A), and its standard error from this restart's blocks alone."""

    log_ratio: float
    se: float


def combine_blocks(a_blocks_s: npt.ArrayLike, b_blocks_s: npt.ArrayLike) -> RestartFigure:
    """The restart's log ratio from its paired blocks.

    `a_blocks_s`, `b_blocks_s`: shape (k,), seconds per call (> 0), block i of both sides measured one right after
    the other, in random order, so that drift of the machine cancels within the pair. See `combine_restarts`.
    Raises ValueError on different shapes, no pairs, or times that are not positive.
    """
    log_ratio, se = combine_restarts(np.asarray(a_blocks_s).ravel(), np.asarray(b_blocks_s).ravel())
    return RestartFigure(float(log_ratio), float(se))


def combine_restarts(a_blocks_s: npt.ArrayLike, b_blocks_s: npt.ArrayLike) -> tuple[Array, Array]:
    """Log ratios and their standard errors, shape (...), from blocks of shape (..., k): many restarts at once.

    On a busy machine a core has two speeds, alone and beside a busy sibling, and pairs whose blocks fell on different
    ones lie tens of per cent off on either side. So the figure is the centre of the pairs that agree: an M-estimate of
    location from the median on, with weights 1 / (1 + u^2)^2 (Geman & McClure 1987, Statistical methods for tomographic
    image reconstruction; reweighted iteratively as in Huber & Ronchetti, Robust Statistics, 2nd ed., section 6.7). u is
    in units of 1.5 standard deviations, read off the lower quartile of the absolute deviations as if these were normal:
    more than half of the pairs may disagree. On recorded traces its error is a fifth below the median's.
    Swapping the sides changes the sign of the log ratio and nothing else, which `perfguard.stats.betting` needs. A
    change of a minority of the calls is not seen: give it its own metric.
    Of fewer than `FEWEST_PAIRS` pairs, which cannot show a core, the figure is the median.
    The standard error is the estimator's, sqrt(mean psi^2 / k) / mean psi' (Huber & Ronchetti, section 3.2).
    """
    a, b = _log_times(a_blocks_s), _log_times(b_blocks_s)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} blocks of A, {b.shape} of B")
    d = b - a
    if d.shape[-1] < FEWEST_PAIRS:
        spread = d.std(axis=-1, ddof=1) if d.shape[-1] > 1 else np.zeros(d.shape[:-1])
        return np.asarray(np.median(d, axis=-1)), np.asarray(MEDIAN_SE * spread / math.sqrt(d.shape[-1]))
    centre = np.median(d, axis=-1, keepdims=True)
    core = np.quantile(np.abs(d - centre), 0.25, axis=-1, keepdims=True) / NORMAL_LOWER_QUARTILE
    scale = np.maximum(WIDTH * core, 1e-9)
    for _ in range(ROUNDS):
        weight = (1 + ((d - centre) / scale) ** 2) ** -2
        centre = (weight * d).sum(axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True)
    u2 = ((d - centre) / scale) ** 2
    psi2 = (((d - centre) * (1 + u2) ** -2) ** 2).mean(axis=-1)
    slope = ((1 - 3 * u2) / (1 + u2) ** 3).mean(axis=-1)
    # Where the pairs have no common centre the slope vanishes: then this restart tells next to nothing.
    se = np.sqrt(psi2 / d.shape[-1]) / np.maximum(slope, 0.05)
    return np.asarray(centre[..., 0]), np.asarray(se)


def _log_times(times_s: npt.ArrayLike) -> Array:
    array = np.asarray(times_s, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all() or not (array > 0).all():
        raise ValueError("block times must be finite and positive, and at least one")
    return np.asarray(np.log(array))
