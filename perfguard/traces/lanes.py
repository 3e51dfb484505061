"""Lanes: which time of a device is compute, copies, communication, one stream; and what each pair of lanes shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations

import numpy as np

from perfguard.spans import intervals
from perfguard.traces.model import (
    COMMUNICATION,
    COMPUTE,
    COPIES,
    KIND_NAMES,
    MEMSET,
    Activities,
    Ints,
    Trace,
)

COMPUTE_LANE, COPY_LANE, COMMUNICATION_LANE = "compute", "copy", "communication"
# Pairs of streams grow with their square; those left out have the least time.
MAX_STREAMS = 16


@dataclass(frozen=True, slots=True)
class Pair:
    """What two lanes share: `efficiency` is the intersection over the shorter lane; None if that is empty."""

    a: str
    b: str
    intersection_s: float
    efficiency: float | None


def lanes_of(trace: Trace, activities: Activities, wanted: Mapping[str, str]) -> dict[str, Ints]:
    """The union of each lane of `activities`, empty lanes left out: by kind, all copies together, by stream.

    `wanted` adds lanes by pattern (`*`, `?`): device activities and host ranges whose name matches.
    """
    found: dict[str, Ints] = {}
    kinds = {"copy": np.isin(activities.kind, COPIES)}
    kinds |= {KIND_NAMES[kind]: activities.kind == kind for kind in (COMPUTE, COMMUNICATION, *COPIES, MEMSET)}
    for name, mask in kinds.items():
        if mask.any():
            found[name] = _union(activities.intervals(mask))
    streams, counts = np.unique(activities.stream, return_counts=True)
    if len(streams) > 1:
        for stream in sorted(streams[np.argsort(-counts, kind="stable")][:MAX_STREAMS].tolist()):
            found[f"stream {stream}"] = _union(activities.intervals(activities.stream == stream))
    for name, pattern in wanted.items():
        found[name] = _matching(trace, activities, pattern)
    return found


def pairs_of(lanes: Mapping[str, Ints], wanted: Mapping[str, str]) -> tuple[Pair, ...]:
    """Every pair of kinds and wanted lanes, and every pair of streams; a part is not paired with its whole."""
    pairs = []
    for a, b in combinations(lanes, 2):
        streams = [name.startswith("stream ") and name not in wanted for name in (a, b)]
        part = a == COPY_LANE and b.startswith("copy ")
        if streams[0] != streams[1] or (part and not {a, b} & wanted.keys()):
            continue
        shared = intervals.seconds(intervals.intersection(lanes[a], lanes[b]))
        shorter = min(intervals.seconds(lanes[a]), intervals.seconds(lanes[b]))
        pairs.append(Pair(a, b, shared, shared / shorter if shorter else None))
    return tuple(pairs)


def _matching(trace: Trace, activities: Activities, pattern: str) -> Ints:
    numbers = [number for number, name in enumerate(trace.names) if fnmatchcase(name, pattern)]
    ranges = trace.ranges
    chosen = np.isin(ranges.name, numbers)
    host = np.column_stack((ranges.start_ns[chosen], ranges.end_ns[chosen]))
    return _union(np.concatenate((host, activities.intervals(np.isin(activities.name, numbers)))))


def _union(raw: Ints) -> Ints:
    return intervals.union(raw)  # type: ignore[return-value]
