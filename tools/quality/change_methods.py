"""Ways to find change points, one function each: perfguard's, and other libraries' where they are installed.

Each takes times, shape (n,), and gives the indices at which a new level begins. Other libraries are used as their
documentation advises, on the same log scale. Install apache-otava and ruptures into an environment of its own: the
former pins numpy to one minor version.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Method = Callable[[Array], list[int]]


def perfguard(times: Array) -> list[int]:
    """As `perfguard history changes` does, with no smallest change."""
    from perfguard.stats.steps import find_steps

    return [step.at for step in find_steps(np.log(times), alpha=0.05)]


def otava(times: Array) -> list[int]:
    """apache-otava's defaults: windows of 50, p below 0.001, and no smallest change."""
    from otava.analysis import compute_change_points

    found, _weak = compute_change_points(list(np.log(times) + 10), window_len=50, max_pvalue=0.001, min_magnitude=0.0)
    return [int(point.index) for point in found]


def otava_original(times: Array) -> list[int]:
    """apache-otava's E-divisive with permutations, as in MongoDB's use of it."""
    from otava.analysis import compute_change_points_orig

    found, _weak = compute_change_points_orig(list(np.log(times) + 10), max_pvalue=0.001)
    return [int(point.index) for point in found]


def pelt_mean(times: Array) -> list[int]:
    """Ruptures' PELT on the mean, with the penalty of its guide: 2 sigma^2 log n... twice, as for unknown places."""
    import ruptures

    y = np.log(times)
    sigma = 1.4826 * float(np.median(np.abs(np.diff(y)))) / math.sqrt(2)
    found = (
        ruptures.KernelCPD(kernel="linear", min_size=3)
        .fit(y.reshape(-1, 1))
        .predict(pen=4 * sigma**2 * math.log(y.size))
    )
    return [int(at) for at in found[:-1]]


def pelt_rbf(times: Array) -> list[int]:
    """Ruptures' kernel change points (rbf), with the penalty 3 log n."""
    import ruptures

    y = np.log(times)
    found = ruptures.KernelCPD(kernel="rbf", min_size=3).fit(y.reshape(-1, 1)).predict(pen=3 * math.log(y.size))
    return [int(at) for at in found[:-1]]


METHODS: dict[str, tuple[Method, str]] = {
    "perfguard": (perfguard, "perfguard"),
    "otava": (otava, "otava"),
    "otava, original": (otava_original, "otava"),
    "ruptures, mean": (pelt_mean, "ruptures"),
    "ruptures, rbf": (pelt_rbf, "ruptures"),
}


def installed() -> dict[str, Method]:
    """The methods that can be run here."""
    return {name: method for name, (method, library) in METHODS.items() if importlib.util.find_spec(library)}
