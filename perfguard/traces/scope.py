"""Part of a trace: from the first start to the last end of a range, so that warm-up stays outside."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from perfguard.errors import TraceError
from perfguard.traces.model import Ints, Ranges, Trace
from perfguard.traces.windows import device_windows


def scoped(trace: Trace, pattern: str) -> Trace:
    """`trace` within the ranges that match `pattern`: what lies across an edge is cut there.

    On the device the edges are those of what the ranges launched there, where that is known. Raises `TraceError` if
    nothing matches.
    """
    ranges, activities = trace.ranges, trace.activities
    chosen = np.isin(ranges.name, [n for n, name in enumerate(trace.names) if fnmatchcase(name, pattern)])
    if not chosen.any():
        raise TraceError(trace.source, f"has no range {pattern!r}", "leave --within out to see the ranges it has")
    host = int(ranges.start_ns[chosen].min()), int(ranges.end_ns[chosen].max())
    spans, known = device_windows(ranges, trace.launches, activities)
    launched = spans[chosen & known]
    device = (int(launched[:, 0].min()), int(launched[:, 1].max())) if len(launched) else host
    kept = activities.where(_touching(activities.start_ns, activities.end_ns, device))
    inside = _touching(ranges.start_ns, ranges.end_ns, host)
    return replace(
        trace,
        activities=replace(
            kept, start_ns=np.maximum(kept.start_ns, device[0]), end_ns=np.minimum(kept.end_ns, device[1])
        ),
        ranges=Ranges(
            np.maximum(ranges.start_ns[inside], host[0]),
            np.minimum(ranges.end_ns[inside], host[1]),
            ranges.name[inside],
            ranges.thread[inside],
        ),
    )


def _touching(start: Ints, end: Ints, scope: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return (start < scope[1]) & (end > scope[0])
