"""Interval algebra on arrays: what several lanes of time cover together, share, and leave open.

Intervals are half open, `[start, end)`, in an array of shape (n, 2): int64 nanoseconds or float64 seconds. The two are
never mixed: nanoseconds since 1970 don't fit a float64, so a silent conversion would move edges by up to 256 ns.
A result is sorted, disjoint, without empty or touching intervals, and keeps its input's type; O(n log n).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from perfguard.errors import MeasurementError

Intervals: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.float64]

# The difference of two times within this bound fits 64 bits; 146 years of nanoseconds.
MAX_NS = 2**62


def as_intervals(raw: npt.ArrayLike, name: str = "intervals") -> Intervals:
    """`raw` as int64 or float64 of shape (n, 2); an empty sequence is no interval, in nanoseconds.

    Raises `MeasurementError` naming `name` and the first bad row: wrong shape or type, not finite, out of range, or
    an end before its start.
    """
    try:
        array = np.asarray(raw)
    except (ValueError, OverflowError) as error:
        raise MeasurementError(name, f"is no array of intervals: {error}", "give an array of shape (n, 2)") from error
    if array.size == 0:
        return _typed(np.empty((0, 2), np.float64 if array.dtype.kind == "f" and array.ndim == 2 else np.int64))
    if array.ndim != 2 or array.shape[1] != 2:
        raise MeasurementError(name, f"has shape {array.shape}", "give one row per interval: start, end")
    found = _numbers(array, name)
    if (backwards := np.flatnonzero(found[:, 1] < found[:, 0])).size:
        row = int(backwards[0])
        start, end = found[row].tolist()
        raise MeasurementError(f"{name}[{row}]", f"ends at {end}, before its start {start}", "start, end, on one clock")
    return found


def union(*many: npt.ArrayLike) -> Intervals:
    """The time that any of the intervals covers."""
    arrays = _same_unit([as_intervals(one, f"intervals {place}") for place, one in enumerate(many, start=1)])
    if not arrays:
        return np.empty((0, 2), np.int64)
    everything: Any = np.concatenate(arrays)
    everything = everything[everything[:, 1] > everything[:, 0]]
    everything = everything[np.argsort(everything[:, 0], kind="stable")]
    if len(everything) == 0:
        return _typed(everything)
    starts, reached = everything[:, 0], np.maximum.accumulate(everything[:, 1])
    first = np.concatenate(([True], starts[1:] > reached[:-1]))
    last = np.concatenate((first[1:], [True]))
    return _typed(np.column_stack((starts[first], reached[last])))


def intersection(first: npt.ArrayLike, second: npt.ArrayLike) -> Intervals:
    """The time that both cover; each side's own overlaps are merged first."""
    one, other = _same_unit([union(as_intervals(first, "first")), union(as_intervals(second, "second"))])
    edges: Any = np.concatenate((one.ravel(), other.ravel()))
    if edges.size == 0:
        return _typed(edges.reshape(0, 2))
    steps = np.tile(np.array([1, -1], np.int64), edges.size // 2)
    order = np.argsort(edges, kind="stable")
    edges, depth = edges[order], np.cumsum(steps[order])
    # Each side is disjoint, so a depth of two is one of each. Edges at one moment leave empty stretches, dropped here.
    both = (depth[:-1] == 2) & (edges[1:] > edges[:-1])
    return _typed(np.column_stack((edges[:-1][both], edges[1:][both])))


def clip(intervals: npt.ArrayLike, start: float, end: float) -> Intervals:
    """The part of their union that lies in `[start, end)`, which must be in the intervals' unit."""
    return intersection(intervals, _scope(as_intervals(intervals), start, end))


def gaps(intervals: npt.ArrayLike, start: float, end: float) -> Intervals:
    """The time of `[start, end)` that none of them covers: their idle time, in the same unit."""
    scope = _scope(as_intervals(intervals), start, end)
    covered = intersection(intervals, scope)
    edges: Any = np.concatenate((scope[0, :1], covered.ravel(), scope[0, 1:])).reshape(-1, 2)
    return _typed(edges[edges[:, 1] > edges[:, 0]])


def length(intervals: npt.ArrayLike) -> int | float:
    """The length of their union, in their unit: shared time counts once."""
    merged: Any = union(intervals)
    return (merged[:, 1] - merged[:, 0]).sum().item()  # type: ignore[no-any-return]


def length_within(intervals: npt.ArrayLike, windows: npt.ArrayLike) -> npt.NDArray[Any]:
    """How much of the union of `intervals` lies in each of `windows`, (m, 2): one length per window, in their unit.

    Windows may overlap and repeat; O((n + m) log n), whatever they cover.
    """
    merged, wanted = _same_unit([union(as_intervals(intervals, "intervals")), as_intervals(windows, "windows")])
    starts, ends = merged[:, 0], merged[:, 1]
    before = np.concatenate((np.zeros(1, merged.dtype), np.cumsum(ends - starts)))

    def covered(moments: Any) -> Any:
        """The covered time before each moment: whole intervals that started, less what lies behind the moment."""
        started = np.searchsorted(starts, moments, side="right")
        last = ends[started - 1] if len(ends) else moments
        return before[started] - np.where(started > 0, np.maximum(last - moments, 0), 0)

    return covered(wanted[:, 1]) - covered(wanted[:, 0])  # type: ignore[no-any-return]


def seconds(intervals: npt.ArrayLike) -> float:
    """The length of their union in seconds, whether they are in nanoseconds or in seconds."""
    total = length(intervals)
    return total / 1e9 if isinstance(total, int) else total


def _numbers(array: npt.NDArray[Any], name: str) -> Intervals:
    if array.dtype.kind in "iu":
        if array.min() < -MAX_NS or array.max() > MAX_NS:
            raise MeasurementError(name, "holds a time beyond 2^62 nanoseconds", "check its unit and its clock")
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise MeasurementError(name, f"holds {array.dtype}, not numbers", "int64 nanoseconds or float64 seconds")
    found = array.astype(np.float64)
    if (bad := np.flatnonzero(~np.isfinite(found).all(axis=1))).size:
        raise MeasurementError(f"{name}[{int(bad[0])}]", f"is {found[bad[0]].tolist()}", "leave out what did not end")
    return found


def _same_unit(arrays: list[Intervals]) -> list[Intervals]:
    """`arrays`, of one type: empty ones take the type of the others."""
    kinds = {one.dtype.kind for one in arrays if len(one)}
    if len(kinds) > 1:
        raise MeasurementError(
            "intervals", "nanoseconds (integers) and seconds (floats) are mixed", "give all of them in one unit"
        )
    kind = kinds.pop() if kinds else arrays[0].dtype.kind if arrays else "i"
    return [one if one.dtype.kind == kind else _typed(one.astype(np.int64 if kind == "i" else float)) for one in arrays]


def _scope(intervals: Intervals, start: float, end: float) -> Intervals:
    if len(intervals) == 0:
        return as_intervals([[start, end]], "scope")
    if intervals.dtype.kind == "i" and not (float(start).is_integer() and float(end).is_integer()):
        raise MeasurementError("scope", f"[{start}, {end}] is not in whole nanoseconds", "as the intervals are")
    edge = int if intervals.dtype.kind == "i" else float
    return as_intervals([[edge(start), edge(end)]], "scope")


def _typed(array: Any) -> Intervals:
    return array  # type: ignore[no-any-return]
