"""Points of a series within a bound: however many come, so many are kept, and outliers are among them."""

from __future__ import annotations

import math
from array import array
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

LEAST = 64
MOST = 2048
_BUDGET = 160_000  # points of all series of a run together: some 4 MB, and as much for what is shown
_GROUP = 4


def limit_for(series: int) -> int:
    """How many points each of so many series may keep: it halves, seldom, so that all can be made to fit then."""
    limit = MOST
    while limit > LEAST and limit * series > _BUDGET:
        limit //= 2
    return limit


class Points:
    """When (seconds since the run began), which round, and what (in the metric's unit), in the order of coming.

    Over the limit every group of four becomes its smallest and its largest, and what comes later is thinned as much
    before it is kept: the whole of the series is always equally dense, and every outlier is there. One by one or many
    at once, the same are kept.
    """

    __slots__ = ("_group", "_held", "_high", "_low", "index", "n", "t_s", "value")

    def __init__(self) -> None:
        self.t_s = array("d")
        self.index = array("q")
        self.value = array("d")
        self.n = 0
        self._group = 0  # how many make two; 0 as long as all are kept
        self._held = 0  # of the group that is not yet full, with the place in it of its smallest and its largest
        self._low = self._high = (0, 0.0, 0, 0.0)

    def add(self, t_s: float, index: int, value: float, limit: int) -> None:
        """One more; `limit` as now allowed."""
        if len(self.value) > limit:
            self.fit(limit)
        self.n += 1
        if not self._group:
            self.t_s.append(t_s)
            self.index.append(index)
            self.value.append(value)
        else:
            if not self._held:
                self._low = self._high = (0, t_s, index, value)
            elif value < self._low[3]:
                self._low = (self._held, t_s, index, value)
            elif value > self._high[3]:
                self._high = (self._held, t_s, index, value)
            self._held += 1
            if self._held >= self._group:
                self._flush()
        if len(self.value) > limit:
            self.fit(limit)

    def extend(self, t_s: Floats, index: Integers, value: Floats, limit: int) -> None:
        """Many more, in their order."""
        if math.isnan(value.sum()):  # one is not a number, neither smaller nor larger than any other: one by one
            for one in zip(t_s.tolist(), index.tolist(), value.tolist(), strict=True):
                self.add(*one, limit)
            return
        if len(self.value) > limit:
            self.fit(limit)
        self.n += len(value)
        at = 0
        while at < len(value):
            room = limit - len(self.value)  # never negative: all fits
            if not self._group:
                stop = at + room + 1
                self._append(t_s[at:stop], index[at:stop], value[at:stop])
            elif self._held or len(value) - at < self._group:
                stop = min(len(value), at + self._group - self._held)
                self._hold(t_s[at:stop], index[at:stop], value[at:stop])
            else:
                groups = min((len(value) - at) // self._group, max(1, room // 2))
                stop = at + groups * self._group
                kept = at + _ends(value[at:stop].reshape(groups, self._group))
                self._append(t_s[kept], index[kept], value[kept])
            at = stop
            if len(self.value) > limit:
                self.fit(limit)

    def fit(self, limit: int) -> None:
        """Thin until no more than `limit`, at least four, are kept."""
        while len(self.value) > limit:
            self._flush()
            self._halve()
            self._group = max(_GROUP, 2 * self._group)

    def arrays(self) -> tuple[Floats, Floats, Floats]:
        """Copies of times, rounds and values, what is held back among them."""
        t_s, index, value = (np.array(kept, dtype=np.float64) for kept in (self.t_s, self.index, self.value))
        if self._held:
            more = np.array(self._held_points(), dtype=np.float64)
            return np.append(t_s, more[:, 0]), np.append(index, more[:, 1]), np.append(value, more[:, 2])
        return t_s, index, value

    def _append(self, t_s: Floats, index: Integers, value: Floats) -> None:
        self.t_s.frombytes(t_s.tobytes())
        self.index.frombytes(index.tobytes())
        self.value.frombytes(value.tobytes())

    def _hold(self, t_s: Floats, index: Integers, value: Floats) -> None:
        """These belong to the group that is not yet full."""
        low, high = int(value.argmin()), int(value.argmax())
        if not self._held or value[low] < self._low[3]:
            self._low = (self._held + low, float(t_s[low]), int(index[low]), float(value[low]))
        if not self._held or value[high] > self._high[3]:
            self._high = (self._held + high, float(t_s[high]), int(index[high]), float(value[high]))
        self._held += len(value)
        if self._held >= self._group:
            self._flush()

    def _held_points(self) -> list[tuple[float, int, float]]:
        """The smallest and the largest of the group that is not yet full, in the order of coming."""
        return [one[1:] for one in sorted({self._low, self._high}, key=lambda one: one[0])]

    def _flush(self) -> None:
        if self._held:
            for t_s, index, value in self._held_points():
                self.t_s.append(t_s)
                self.index.append(index)
                self.value.append(value)
            self._held = 0

    def _halve(self) -> None:
        values = np.array(self.value)
        whole = len(values) // _GROUP * _GROUP
        kept = np.concatenate([_ends(values[:whole].reshape(-1, _GROUP)), np.arange(whole, len(values))])
        self.t_s = array("d", np.array(self.t_s)[kept].tobytes())
        self.index = array("q", np.array(self.index)[kept].tobytes())
        self.value = array("d", values[kept].tobytes())


def _ends(groups: Floats) -> Integers:
    """Where the first smallest and the first largest of each row are, in the order of coming; once if they are one."""
    rows = np.arange(0, groups.size, groups.shape[1])
    low, high = rows + groups.argmin(axis=1), rows + groups.argmax(axis=1)
    ends = np.empty((len(groups), 2), dtype=np.int64)
    np.minimum(low, high, out=ends[:, 0])
    np.maximum(low, high, out=ends[:, 1])
    two = low != high
    return ends.ravel() if two.all() else ends[np.stack([np.full(len(groups), True), two], axis=1)]
