"""Host ranges on the device's timeline: from the first to the last activity that was launched inside a range."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfguard.traces.model import Activities, Ints, Launches, Ranges

# Nested ranges look at the same launches again; more than this in all is no program's nesting.
MAX_LOOKS = 500_000_000


def device_windows(ranges: Ranges, launches: Launches, activities: Activities) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Start and end on the device of each range instance, (n, 2), and which instances launched anything.

    A range launches what its own thread calls between its start and end. As `nvtx_gpu_proj` of nsys does.
    """
    spans = np.zeros((len(ranges), 2), np.int64)
    known = np.zeros(len(ranges), np.bool_)
    started, thread, first, last = _launched(launches, activities)
    looks = 0
    for one in np.unique(ranges.thread).tolist():
        mine, theirs = np.flatnonzero(ranges.thread == one), np.flatnonzero(thread == one)
        if len(theirs) == 0:
            continue
        low = np.searchsorted(started[theirs], ranges.start_ns[mine], side="left")
        high = np.searchsorted(started[theirs], ranges.end_ns[mine], side="left")
        some = high > low
        looks += int((high - low)[some].sum())
        if looks > MAX_LOOKS:
            return spans, np.zeros(len(ranges), np.bool_)
        if not some.any():
            continue
        edges = np.column_stack((low[some], high[some])).ravel()
        # One value past the end, so that a slice may end there.
        spans[mine[some], 0] = np.minimum.reduceat(np.append(first[theirs], np.iinfo(np.int64).max), edges)[::2]
        spans[mine[some], 1] = np.maximum.reduceat(np.append(last[theirs], np.iinfo(np.int64).min), edges)[::2]
        known[mine[some]] = True
    return spans, known


def _launched(launches: Launches, activities: Activities) -> tuple[Ints, Ints, Ints, Ints]:
    """The launches that started anything, in order of time: start, thread, first start and last end on the device.

    One launch may start many activities (a graph).
    """
    nothing = np.empty(0, np.int64)
    mine = activities.where(activities.launch >= 0)
    if len(mine) == 0 or len(launches.launch) == 0:
        return nothing, nothing, nothing, nothing
    order = np.argsort(mine.launch, kind="stable")
    keys, at = np.unique(mine.launch[order], return_index=True)
    first = np.minimum.reduceat(mine.start_ns[order], at)
    last = np.maximum.reduceat(mine.end_ns[order], at)
    place = np.minimum(np.searchsorted(keys, launches.launch), len(keys) - 1)
    hit = np.flatnonzero(keys[place] == launches.launch)
    hit = hit[np.argsort(launches.start_ns[hit], kind="stable")]
    return launches.start_ns[hit], launches.thread[hit], first[place[hit]], last[place[hit]]
