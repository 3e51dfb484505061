"""Points of a series within a bound: however many come, so many are kept, and outliers are among them."""

from __future__ import annotations

from array import array
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

LEAST = 64
MOST = 2048
_BUDGET = 300_000  # points of all series of a run together: some 7 MB
_GROUP = 4


def limit_for(series: int) -> int:
    """How many points each of so many series may keep."""
    return max(LEAST, min(MOST, _BUDGET // max(1, series)))


class Points:
    """When (seconds since the run began), which round, and what (in the metric's unit), in the order of coming.

    Over the limit every group of four becomes its smallest and its largest, so half of them go and no outlier does.
    """

    __slots__ = ("index", "n", "t_s", "value")

    def __init__(self) -> None:
        self.t_s = array("d")
        self.index = array("l")
        self.value = array("d")
        self.n = 0

    def add(self, t_s: float, index: int, value: float, limit: int) -> None:
        """One more; `limit` as now allowed."""
        self.t_s.append(t_s)
        self.index.append(index)
        self.value.append(value)
        self.n += 1
        if len(self.value) > limit:
            self._halve()

    def _halve(self) -> None:
        values = np.array(self.value)
        whole = len(values) // _GROUP * _GROUP
        groups = values[:whole].reshape(-1, _GROUP)
        rows = np.arange(len(groups)) * _GROUP
        pairs = np.sort(np.stack([rows + groups.argmin(axis=1), rows + groups.argmax(axis=1)], axis=1), axis=1)
        kept = np.unique(np.concatenate([pairs.ravel(), np.arange(whole, len(values))]))
        self.t_s = array("d", np.array(self.t_s)[kept].tobytes())
        self.index = array("l", np.array(self.index)[kept].tobytes())
        self.value = array("d", values[kept].tobytes())

    def arrays(self) -> tuple[Floats, Floats, Floats]:
        """Copies of times, rounds and values."""
        return np.array(self.t_s), np.array(self.index, dtype=np.float64), np.array(self.value)
