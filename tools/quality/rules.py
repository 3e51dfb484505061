"""What other tools do with the samples of one process run before and one now, as arrays of shape (..., n)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

Array = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]


def mean_5(before: Array, now: Array) -> Marks:
    """`--benchmark-compare-fail=mean:5%` of pytest-benchmark."""
    return np.asarray(now.mean(-1) > 1.05 * before.mean(-1))


def min_5(before: Array, now: Array) -> Marks:
    """`--benchmark-compare-fail=min:5%` of pytest-benchmark."""
    return np.asarray(now.min(-1) > 1.05 * before.min(-1))


def mann_whitney(before: Array, now: Array, p: float = 0.01) -> Marks:
    """Two-sided Mann-Whitney on the samples, and the median went up."""
    found = mannwhitneyu(now, before, axis=-1, method="asymptotic").pvalue < p
    return np.asarray(found & (np.median(now, -1) > np.median(before, -1)))


def asv(before: Array, now: Array) -> Marks:
    """What asv's `continuous` and `compare` ask for: factor 1.1 on medians, and its Mann-Whitney test at p < 0.002."""
    return np.asarray(mann_whitney(before, now, 0.002) & (np.median(now, -1) > 1.1 * np.median(before, -1)))


# The names are those of docs/quality.json.
RULES: Mapping[str, Callable[[Array, Array], Marks]] = {
    "pytest_benchmark_mean_5": mean_5,
    "pytest_benchmark_min_5": min_5,
    "mann_whitney_01": mann_whitney,
    "asv": asv,
}
