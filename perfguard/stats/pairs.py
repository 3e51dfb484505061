"""From the blocks of one process restart to its one figure: the log ratio B over A, with a standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfguard.stats.quantiles import Array

FLOOR_QUANTILE = 0.1
QUIET_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class RestartFigure:
    """One restart of one case.

    `log_ratio` = log(B / A), its standard error from this restart's blocks alone, and how many of the `pairs` were
    quiet enough to count.
    """

    log_ratio: float
    se: float
    quiet: int
    pairs: int


def combine_blocks(a_blocks_s: npt.ArrayLike, b_blocks_s: npt.ArrayLike) -> RestartFigure:
    """The restart's log ratio from its paired blocks, by the pairs that were disturbed least.

    `a_blocks_s`, `b_blocks_s`: shape (k,), seconds per call (> 0), block i of both sides measured one right after
    the other, in random order, so that drift of the machine cancels within the pair. See `combine_restarts`.
    Raises ValueError on different shapes, no pairs, or times that are not positive.
    """
    a = np.asarray(a_blocks_s, dtype=np.float64).ravel()
    log_ratio, se = combine_restarts(a, np.asarray(b_blocks_s, dtype=np.float64).ravel())
    return RestartFigure(float(log_ratio), float(se), _quiet_pairs(a.size), a.size)


def combine_restarts(a_blocks_s: npt.ArrayLike, b_blocks_s: npt.ArrayLike) -> tuple[Array, Array]:
    """Log ratios and their standard errors, shape (...), from blocks of shape (..., k): many restarts at once.

    Other processes only ever add time, and often to one side of a pair. So a pair counts by its more disturbed side,
    as its log excess over that side's own lower decile; the quieter half of the pairs is kept, and its median log
    ratio is the figure. Swapping the sides changes the sign of the log ratio and nothing else, which
    `perfguard.stats.betting` needs. A change of only the slower half of the calls is not seen: give it its own metric.
    The standard error is the median's, 1.2533 sigma / sqrt(kept), with sigma from the median absolute deviation.
    """
    a, b = _log_times(a_blocks_s), _log_times(b_blocks_s)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} blocks of A, {b.shape} of B")
    excess = (side - np.quantile(side, FLOOR_QUANTILE, axis=-1, keepdims=True) for side in (a, b))
    order = np.argsort(np.maximum(*excess), axis=-1, kind="stable")[..., : _quiet_pairs(a.shape[-1])]
    quiet = np.take_along_axis(b - a, order, axis=-1)
    centre = np.median(quiet, axis=-1)
    sigma = 1.4826 * np.median(np.abs(quiet - centre[..., None]), axis=-1)
    return np.asarray(centre), np.asarray(1.2533 * sigma / math.sqrt(quiet.shape[-1]))


def _quiet_pairs(pairs: int) -> int:
    return math.ceil(pairs * QUIET_SHARE)


def _log_times(times_s: npt.ArrayLike) -> Array:
    array = np.asarray(times_s, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all() or not (array > 0).all():
        raise ValueError("block times must be finite and positive, and at least one")
    return np.asarray(np.log(array))
