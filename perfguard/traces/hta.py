"""HolisticTraceAnalysis' definitions, by name, so that its figures can be read beside ours.

They differ from ours on purpose (docs/overlap.md): the last profiler step is dropped, an activity without a recorded
launch too, only kernels named `nccl...Kernel` communicate, copies are never compared with compute, overlap is a share
of communication, and times are cut to whole microseconds. Source: hta/analyzers and hta/common of version 0.5.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import numpy as np

from perfguard.spans import intervals
from perfguard.traces.clocks import launch_starts
from perfguard.traces.model import Activities, Ints, Trace

TYPES = ("COMPUTATION", "COMMUNICATION", "MEMORY")
_COMMUNICATION = re.compile(r"nccl.*Kernel")
_MEMORY = re.compile(r"Memcpy|Memset|dma")
_NOT_COMPUTE = re.compile(r"(nccl.*Kernel)|(.*(Memcpy)|(Memset))|(.*Sync)")


@dataclass(frozen=True, slots=True)
class Hta:
    """Its figures under its names; percentages as it rounds them, times in microseconds. None where it has none."""

    comp_comm_overlap_pctg: float | None
    idle_time_us: float
    compute_time_us: float
    non_compute_time_us: float
    kernel_time_us: float
    kernel_types_us: dict[str, float]


def hta(trace: Trace, activities: Activities) -> Hta | None:
    """What it would report of `activities`, None if its filters leave nothing."""
    kept = _kept(trace, activities)
    if len(kept) == 0:
        return None
    types = np.array([_type(name) for name in trace.names], dtype=object)[kept.name]
    start, end = _microseconds(kept)
    spans = np.column_stack((start, end))
    lanes = {name: intervals.union(spans[types == name]) for name in TYPES}
    computing, communicating = lanes["COMPUTATION"], lanes["COMMUNICATION"]
    shared = intervals.length(intervals.intersection(computing, communicating))
    whole = int(end.max()) - int(start.min())
    busy, compute, communication = (intervals.length(one) for one in (spans, computing, communicating))
    return Hta(
        comp_comm_overlap_pctg=round(100 * shared / communication, 2) if communication else None,
        idle_time_us=float(whole - busy),
        compute_time_us=float(compute),
        non_compute_time_us=float(busy - compute),
        kernel_time_us=float(whole),
        kernel_types_us=_combinations(lanes),
    )


def _combinations(lanes: dict[str, intervals.Intervals]) -> dict[str, float]:
    """The time in which exactly these types ran, for every set of types that ran together."""
    found = {}
    for size in range(1, len(TYPES) + 1):
        for chosen in combinations(TYPES, size):
            together = reduce(intervals.intersection, (lanes[name] for name in chosen))
            others = intervals.union(*(lanes[name] for name in TYPES if name not in chosen), together[:0])
            alone = intervals.length(together) - intervals.length(intervals.intersection(together, others))
            if alone:
                found[" overlapping ".join(chosen)] = float(alone)
    return found


def _kept(trace: Trace, activities: Activities) -> Activities:
    steps = [number for number, name in enumerate(trace.names) if "ProfilerStep" in name]
    chosen = np.isin(trace.ranges.name, steps)
    if len(set(trace.ranges.name[chosen].tolist())) < 2:
        return activities
    last = int(trace.ranges.start_ns[chosen].max())
    launched = launch_starts(trace.launches, activities.launch)
    return activities.where((launched >= 0) & (launched < last))


def _microseconds(activities: Activities) -> tuple[Ints, Ints]:
    """Starts rounded up and ends down, as it does for traces with nanoseconds; at least nothing long.

    In float64 as there, although microseconds since 1970 then have steps of a quarter.
    """
    started = activities.start_ns // 1000 + activities.start_ns % 1000 / 1000
    lasted = (activities.end_ns - activities.start_ns) / 1000
    start = np.ceil(started).astype(np.int64)
    return start, np.maximum(start, np.floor(started + lasted).astype(np.int64))


def _type(name: str) -> str:
    if _COMMUNICATION.match(name):
        return "COMMUNICATION"
    if _MEMORY.match(name):
        return "MEMORY"
    return "OTHER" if _NOT_COMPUTE.match(name) else "COMPUTATION"
