"""Tables of totals by name: kernels, ranges with the device's time in them, and ranges by layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfguard.errors import OptionError
from perfguard.spans import intervals
from perfguard.traces.model import KIND_NAMES, Activities, Ints, Ranges


@dataclass(frozen=True, slots=True)
class Row:
    """Instances of one name, times in seconds. `share` is of the total of all rows of its table.

    `stdev_s` is that of the sample, 0 for one instance. `first_s` is the first instance, `steady_mean_s` the mean of
    the others: first use initialises, and a mean that includes it says nothing of the steady state.
    """

    name: str
    kind: str
    count: int
    total_s: float
    share: float
    mean_s: float
    stdev_s: float
    min_s: float
    max_s: float
    first_s: float
    steady_mean_s: float


@dataclass(frozen=True, slots=True)
class RangeRow:
    """A range's row, and what the device did in its `window`: "device" where it launched, else "host"."""

    row: Row
    window: str
    compute_s: float
    copy_s: float
    both_s: float
    efficiency: float | None


@dataclass(frozen=True, slots=True)
class LayerRow:
    """The ranges of one layer that are named alike but for the layer's number, which `name` shows as `*`."""

    layer: int
    name: str
    row: Row


def rows_of(start_ns: Ints, end_ns: Ints, label: Ints, names: Sequence[str], kinds: Sequence[str] = ()) -> list[Row]:
    """One row per label, largest total first. `label` holds indices into `names` (and `kinds`, if given)."""
    if len(label) == 0:
        return []
    order = np.argsort(start_ns, kind="stable")
    lasted, label = (end_ns - start_ns)[order], label[order]
    used, first, place, count = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    total = np.zeros(len(used), np.int64)
    np.add.at(total, place, lasted)
    low, high = np.full(len(used), np.iinfo(np.int64).max), np.full(len(used), -1, np.int64)
    np.minimum.at(low, place, lasted)
    np.maximum.at(high, place, lasted)
    mean = total / count
    squares = np.bincount(place, weights=(lasted - mean[place]) ** 2, minlength=len(used))
    stdev = np.sqrt(squares / np.maximum(count - 1, 1))
    everything = int(total.sum()) or 1
    return [
        Row(
            name=names[int(used[n])],
            kind=kinds[int(used[n])] if kinds else "",
            count=int(count[n]),
            total_s=int(total[n]) / 1e9,
            share=int(total[n]) / everything,
            mean_s=float(mean[n]) / 1e9,
            stdev_s=float(stdev[n]) / 1e9,
            min_s=int(low[n]) / 1e9,
            max_s=int(high[n]) / 1e9,
            first_s=int(lasted[first[n]]) / 1e9,
            steady_mean_s=_steady(int(total[n]), int(lasted[first[n]]), int(count[n])),
        )
        for n in np.argsort(-total, kind="stable")
    ]


def kernel_rows(activities: Activities, names: Sequence[str]) -> list[Row]:
    """All device activities by name and kind: kernels, copies, memsets."""
    label = activities.name * len(KIND_NAMES) + activities.kind
    used, place = np.unique(label, return_inverse=True)
    labels = [(names[one // len(KIND_NAMES)], KIND_NAMES[one % len(KIND_NAMES)]) for one in used.tolist()]
    words, kinds = [name for name, _ in labels], [kind for _, kind in labels]
    return rows_of(activities.start_ns, activities.end_ns, place.astype(np.int64), words, kinds)


def range_rows(
    ranges: Ranges, names: Sequence[str], windows: tuple[Ints, npt.NDArray[np.bool_]], compute: Ints, copy: Ints
) -> list[RangeRow]:
    """The ranges by name, with compute and copies in the union of their windows, whoever launched them.

    `windows` is the time of each instance's launches on the device, and which instances have one.
    """
    rows = rows_of(ranges.start_ns, ranges.end_ns, ranges.name, names)
    if not rows:
        return []
    unions, launched = _windows_by_row(ranges, names, windows, rows)
    starts = np.cumsum([0, *map(len, unions[:-1])])
    everywhere = np.concatenate(unions)
    both = intervals.intersection(compute, copy)
    ran, copied, shared = (
        (np.add.reduceat(intervals.length_within(one, everywhere), starts) / 1e9).tolist()
        for one in (compute, copy, both)
    )
    return [
        RangeRow(
            row=row,
            window="device" if launched[n] else "host",
            compute_s=ran[n],
            copy_s=copied[n],
            both_s=shared[n],
            efficiency=shared[n] / min(ran[n], copied[n]) if ran[n] and copied[n] else None,
        )
        for n, row in enumerate(rows)
    ]


def _windows_by_row(
    ranges: Ranges, names: Sequence[str], windows: tuple[Ints, npt.NDArray[np.bool_]], rows: Sequence[Row]
) -> tuple[list[Ints], list[bool]]:
    """The union of each row's windows, never empty, and whether they are the device's."""
    host = np.column_stack((ranges.start_ns, ranges.end_ns))
    spans, known = windows
    order = np.argsort(ranges.name, kind="stable")
    edges = np.searchsorted(ranges.name[order], np.arange(len(names) + 1))
    numbers = {name: number for number, name in enumerate(names)}
    unions, launched = [], []
    for row in rows:
        number = numbers[row.name]
        mine = order[edges[number] : edges[number + 1]]
        there = mine[known[mine]]
        raw = spans[there] if len(there) else host[mine]
        merged = intervals.union(raw)
        # Instances without any length leave no union, but a row must keep its place.
        unions.append(merged if len(merged) else raw[:1])
        launched.append(len(there) > 0)
    return unions, launched  # type: ignore[return-value]


def layer_pattern(text: str) -> re.Pattern[str]:
    """The pattern that finds a layer's number, as its one group. Raises `OptionError` otherwise."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise OptionError("--layer-pattern", f"{text!r} is no regular expression: {error}") from error
    if pattern.groups != 1:
        raise OptionError("--layer-pattern", f"{text!r} has {pattern.groups} groups", r"one group: layer_(\d+)")
    return pattern


def layer_rows(ranges: Ranges, names: Sequence[str], pattern: re.Pattern[str]) -> list[LayerRow]:
    """The ranges whose name holds a layer's number, by what else the name says, then by layer."""
    labels: dict[tuple[str, int], int] = {}
    of_name = np.full(len(names), -1, np.int64)
    for number in np.unique(ranges.name).tolist():
        match = pattern.search(names[number])
        if match and match[1] and match[1].isascii() and match[1].isdigit() and len(match[1]) < 10:
            rest = f"{names[number][: match.start(1)]}*{names[number][match.end(1) :]}"
            of_name[number] = labels.setdefault((rest, int(match[1])), len(labels))
    label = of_name[ranges.name] if len(ranges) else np.empty(0, np.int64)
    mask = label >= 0
    keys = sorted(labels, key=lambda key: labels[key])
    rows = rows_of(ranges.start_ns[mask], ranges.end_ns[mask], label[mask], [f"{layer} {rest}" for rest, layer in keys])
    by_name = {f"{layer} {rest}": (rest, layer) for rest, layer in keys}
    found = [LayerRow(by_name[row.name][1], by_name[row.name][0], row) for row in rows]
    return sorted(found, key=lambda one: (one.name, one.layer))


def _steady(total_ns: int, first_ns: int, count: int) -> float:
    return (total_ns - first_ns) / (count - 1) / 1e9 if count > 1 else first_ns / 1e9
