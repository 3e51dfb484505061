"""Whether the times of a trace are on one clock: no figure is taken from clocks that are mixed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perfguard.errors import TraceError
from perfguard.traces.model import Ints, Launches, Trace

# No profile has an idle day in it; two clocks (uptime and 1970, or a time of zero) are years apart.
DAY_NS = 86_400 * 10**9
# Up to this share of strays is a profiler's glitch and left out; more is another clock.
STRAY_SHARE = 0.01
# Host and device clocks are aligned by the profiler to within some microseconds.
SKEW_NS = 1_000_000
ADVICE = "record it again: overlap and idle time mean nothing across clocks"


def checked(trace: Trace) -> Trace:
    """`trace` without single strays from another clock, and with a note where the host's clock is not the device's.

    Raises `TraceError` if its device activities lie in groups more than a day apart.
    """
    trace = _without_strays(trace)
    activities, ranges = trace.activities, trace.ranges
    if len(activities) and len(ranges):
        apart = max(
            int(activities.start_ns.min()) - int(ranges.end_ns.max()),
            int(ranges.start_ns.min()) - int(activities.end_ns.max()),
        )
        if apart > DAY_NS:
            raise TraceError(
                trace.source,
                f"its device activities and its ranges are {apart / DAY_NS:.0f} days apart: clocks are mixed",
                ADVICE,
            )
    early = launched_late(trace)
    if early:
        note = f"{early} device activities start before the call that launched them: host and device clocks differ"
        return replace(trace, notes=(*trace.notes, note))
    return trace


def _without_strays(trace: Trace) -> Trace:
    activities = trace.activities
    if len(activities) < 2:
        return trace
    # One of them, not the mean of two: that would lie between the clocks, far from all.
    middle = int(np.partition(activities.start_ns, len(activities) // 2)[len(activities) // 2])
    far = np.abs(activities.start_ns - middle) > DAY_NS
    strays = int(far.sum())
    if strays == 0:
        return trace
    if strays > STRAY_SHARE * len(activities):
        apart = int(activities.start_ns.max()) - int(activities.start_ns.min())
        raise TraceError(
            trace.source,
            f"{strays} of {len(activities)} device activities are {apart / DAY_NS:.0f} days from the others: "
            "clocks are mixed",
            ADVICE,
        )
    note = f"{strays} device activities are more than a day from the others and are left out"
    return replace(trace, activities=activities.where(~far), notes=(*trace.notes, note))


def launched_late(trace: Trace) -> int:
    """How many activities start more than a millisecond before the host call that launched them."""
    starts = launch_starts(trace.launches, trace.activities.launch)
    known = starts >= 0
    return int((trace.activities.start_ns[known] < starts[known] - SKEW_NS).sum())


def launch_starts(launches: Launches, keys: Ints) -> Ints:
    """The host time at which each of `keys` was launched, -1 where unknown."""
    found = np.full(len(keys), -1, np.int64)
    if len(launches.launch) == 0 or len(keys) == 0:
        return found
    order = np.argsort(launches.launch, kind="stable")
    sorted_keys = launches.launch[order]
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    hit = (sorted_keys[at] == keys) & (keys >= 0)
    found[hit] = launches.start_ns[order][at[hit]]
    return found
