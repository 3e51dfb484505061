"""One trace, analysed for one device: everything that the reports and the cases are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from perfguard.errors import TraceError
from perfguard.spans import intervals
from perfguard.spans.overlapping import Overlap
from perfguard.traces import DEFAULT_LAYER
from perfguard.traces.gaps import Gap, GapsAfter, idle_gaps
from perfguard.traces.hta import Hta, hta
from perfguard.traces.lanes import COMMUNICATION_LANE, COMPUTE_LANE, COPY_LANE, Pair, lanes_of, pairs_of
from perfguard.traces.model import Activities, Ints, Trace
from perfguard.traces.rows import LayerRow, RangeRow, Row, kernel_rows, layer_rows, range_rows
from perfguard.traces.scope import scoped
from perfguard.traces.windows import device_windows

_NOTHING: Ints = np.empty((0, 2), np.int64)


@dataclass(frozen=True)
class Wishes:
    """What the reader of a report chose: a device, further lanes by pattern, how layers are named and how many.

    `within` is the range (by name, `*` and `?` are wild) that bounds the scope: from the first start to the last end.
    """

    device: int | None = None
    lanes: Mapping[str, str] = field(default_factory=dict)
    layer_pattern: re.Pattern[str] = re.compile(DEFAULT_LAYER)
    layers: int | None = None
    within: str | None = None


@dataclass(frozen=True)
class Analysis:
    """All figures of one device of one trace; times in seconds.

    `span_s` runs from the first to the last activity, `idle_s` is the part of it without any. `overlap` is that of
    copies and all kernels, None unless both are there. Without device activities the span is that of the ranges, and
    idle is the part of it that no lane covers (without lanes: no range). `exposed` splits the busy time without double
    counting: all of compute, then what of communication, copies and memsets nothing before them hides.
    """

    source: str
    format: str
    device: int | None
    device_name: str
    span_s: float
    idle_s: float
    utilisation: float
    utilisation_with_copies: float
    lanes: dict[str, float]
    exposed: dict[str, float]
    pairs: tuple[Pair, ...]
    overlap: Overlap | None
    pipeline_layers: int | None
    kernels: tuple[Row, ...]
    ranges: tuple[RangeRow, ...]
    layers: tuple[LayerRow, ...]
    gaps: tuple[Gap, ...]
    gaps_after: tuple[GapsAfter, ...]
    hta: Hta | None
    notes: tuple[str, ...]


def analyse(trace: Trace, wishes: Wishes | None = None) -> Analysis:
    """The analysis of `trace`. Raises `TraceError` if it holds neither activities nor ranges, or not that device."""
    wishes = wishes or Wishes()
    if wishes.within is not None:
        trace = scoped(trace, wishes.within)
    device, notes = _choose(trace, wishes.device)
    activities = trace.activities.where(trace.activities.device == device) if device is not None else trace.activities
    start, end = _extent(trace, activities)
    span_ns = end - start
    lanes = lanes_of(trace, activities, wishes.lanes)
    compute = _lane(lanes, COMPUTE_LANE, COMMUNICATION_LANE)
    copy = lanes.get(COPY_LANE, _NOTHING)
    windows = device_windows(trace.ranges, trace.launches, activities)
    gaps, gaps_after = idle_gaps(activities, trace.launches, trace.names)
    busy_ns = int(intervals.length(_busy(trace, activities, lanes)))
    span_s = span_ns / 1e9
    return Analysis(
        source=trace.source,
        format=trace.format,
        device=device,
        device_name=trace.devices.get(device, "") if device is not None else "",
        span_s=span_s,
        idle_s=(span_ns - busy_ns) / 1e9,
        utilisation=intervals.seconds(compute) / span_s if span_s else 0.0,
        utilisation_with_copies=busy_ns / 1e9 / span_s if span_s else 0.0,
        lanes={name: intervals.seconds(lane) for name, lane in lanes.items()},
        exposed=_exposed(lanes),
        pairs=pairs_of(lanes, wishes.lanes),
        overlap=_overlap(compute, copy, span_s, wishes.layers or 1),
        pipeline_layers=wishes.layers,
        kernels=tuple(kernel_rows(activities, trace.names)),
        ranges=tuple(range_rows(trace.ranges, trace.names, windows, compute, copy)),
        layers=tuple(layer_rows(trace.ranges, trace.names, wishes.layer_pattern)),
        gaps=gaps,
        gaps_after=gaps_after,
        hta=hta(trace, activities) if len(activities) else None,
        notes=(*trace.notes, *notes, *_empty_lanes(lanes, wishes.lanes)),
    )


def _choose(trace: Trace, wanted: int | None) -> tuple[int | None, list[str]]:
    """The device to analyse: the one asked for, else the busiest; one at a time, as clocks and spans are its own."""
    activities = trace.activities
    if len(activities) == 0:
        if len(trace.ranges) == 0:
            raise TraceError(trace.source, "holds neither device activities nor ranges", "record some work")
        if wanted is not None:
            raise TraceError(trace.source, f"has no device {wanted}: it holds host ranges only", "leave --device out")
        return None, ["no kernels: this is a trace of the host; name lanes with --lane to see what overlaps"]
    devices = np.unique(activities.device).tolist()
    if wanted is not None:
        if wanted not in devices:
            known = ", ".join(map(str, devices))
            raise TraceError(trace.source, f"has no device {wanted}, only {known}", f"--device {devices[0]}")
        return wanted, []
    busy = {one: intervals.length(activities.intervals(activities.device == one)) for one in devices}
    device = max(devices, key=lambda one: busy[one])
    if len(devices) == 1:
        return device, []
    others = ", ".join(str(one) for one in devices if one != device)
    return device, [f"device {device} is shown, the busiest; --device chooses another: {others}"]


def _extent(trace: Trace, activities: Activities) -> tuple[int, int]:
    rows = activities if len(activities) else trace.ranges
    return int(rows.start_ns.min()), int(rows.end_ns.max())


def _busy(trace: Trace, activities: Activities, lanes: Mapping[str, Ints]) -> Ints:
    if len(activities):
        return activities.intervals()
    ranges = trace.ranges
    return _lane(lanes, *lanes) if lanes else np.column_stack((ranges.start_ns, ranges.end_ns))


def _lane(lanes: Mapping[str, Ints], *names: str) -> Ints:
    return intervals.union(*(lanes.get(name, _NOTHING) for name in names))  # type: ignore[return-value]


def _overlap(compute: Ints, copy: Ints, span_s: float, layers: int) -> Overlap | None:
    if len(compute) == 0 or len(copy) == 0:
        return None
    return Overlap(
        copy_s=intervals.seconds(copy),
        compute_s=intervals.seconds(compute),
        both_s=intervals.seconds(intervals.intersection(copy, compute)),
        busy_s=intervals.seconds(intervals.union(copy, compute)),
        wall_s=span_s,
        layers=layers,
    )


def _exposed(lanes: Mapping[str, Ints]) -> dict[str, float]:
    covered, found = _NOTHING, {}
    for name in (COMPUTE_LANE, COMMUNICATION_LANE, COPY_LANE, "memset"):
        wider = _lane({**lanes, "": covered}, "", name)
        found[name] = int(intervals.length(wider) - intervals.length(covered)) / 1e9
        covered = wider
    return found


def _empty_lanes(lanes: Mapping[str, Ints], wanted: Mapping[str, str]) -> list[str]:
    return [f"nothing matches lane {name}={wanted[name]}" for name in wanted if len(lanes[name]) == 0]
