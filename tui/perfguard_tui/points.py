"""Points of a series within a bound: however many come, so many are kept, and outliers are among them."""

from __future__ import annotations

from array import array
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

LEAST = 64
MOST = 2048
_BUDGET = 120_000  # points of all series of a run together: some 3 MB, and as much for what is shown
_GROUP = 4


def limit_for(series: int) -> int:
    """How many points each of so many series may keep."""
    return max(LEAST, min(MOST, _BUDGET // max(1, series)))


class Points:
    """When (seconds since the run began), which round, and what (in the metric's unit), in the order of coming.

    Over the limit every group of four becomes its smallest and its largest, and what comes later is thinned as much
    before it is kept: the whole of the series is always equally dense, and every outlier is there.
    """

    __slots__ = ("_group", "_held", "_high", "_low", "index", "n", "t_s", "value")

    def __init__(self) -> None:
        self.t_s = array("d")
        self.index = array("l")
        self.value = array("d")
        self.n = 0
        self._group = 0  # how many make two; 0 as long as all are kept
        self._held = 0
        self._low = self._high = (0.0, 0, 0.0)

    def add(self, t_s: float, index: int, value: float, limit: int) -> None:
        """One more; `limit` as now allowed."""
        self.n += 1
        if not self._group:
            self.t_s.append(t_s)
            self.index.append(index)
            self.value.append(value)
        else:
            if not self._held:
                self._low = self._high = (t_s, index, value)
            elif value < self._low[2]:
                self._low = (t_s, index, value)
            elif value > self._high[2]:
                self._high = (t_s, index, value)
            self._held += 1
            if self._held >= self._group:
                self._flush()
        if len(self.value) > limit:
            self._flush()
            self._halve()
            self._group = max(_GROUP, 2 * self._group)

    def _flush(self) -> None:
        if self._held:
            self._held = 0
            for t_s, index, value in sorted({self._low, self._high}):
                self.t_s.append(t_s)
                self.index.append(index)
                self.value.append(value)

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
        """Copies of times, rounds and values, what is held back among them."""
        held = sorted({self._low, self._high}) if self._held else []
        t_s, index, value = (np.array(kept, dtype=np.float64) for kept in (self.t_s, self.index, self.value))
        if held:
            more = np.array(held, dtype=np.float64)
            return np.append(t_s, more[:, 0]), np.append(index, more[:, 1]), np.append(value, more[:, 2])
        return t_s, index, value
