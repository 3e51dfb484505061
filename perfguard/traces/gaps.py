"""Idle gaps of a device: how long nothing ran, what had run before, what came next, and who was waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfguard.spans import intervals
from perfguard.traces.clocks import launch_starts
from perfguard.traces.model import Activities, Launches

LONGEST = 20


@dataclass(frozen=True, slots=True)
class Gap:
    """Time in which nothing ran; `start_s` counts from the first activity.

    `waited_for`: "host" if the next activity's launch came only after the gap began, "device" if it had been launched
    before (a dependency, a synchronisation), "" if its launch is unknown.
    """

    start_s: float
    length_s: float
    after: str
    before: str
    waited_for: str


@dataclass(frozen=True, slots=True)
class GapsAfter:
    """All gaps after one activity's name."""

    after: str
    count: int
    total_s: float
    host_s: float


def idle_gaps(
    activities: Activities, launches: Launches, names: Sequence[str]
) -> tuple[tuple[Gap, ...], tuple[GapsAfter, ...]]:
    """The longest gaps, longest first; and all gaps by what preceded them, largest total first."""
    if len(activities) == 0:
        return (), ()
    start, end = int(activities.start_ns.min()), int(activities.end_ns.max())
    open_ = intervals.gaps(activities.intervals(), start, end)
    if len(open_) == 0:
        return (), ()
    by_end = np.argsort(activities.end_ns, kind="stable")
    before = by_end[np.searchsorted(activities.end_ns[by_end], open_[:, 0], side="right") - 1]
    by_start = np.argsort(activities.start_ns, kind="stable")
    after = by_start[np.searchsorted(activities.start_ns[by_start], open_[:, 1], side="left")]
    launched = launch_starts(launches, activities.launch[after])
    host = launched > open_[:, 0]
    length = open_[:, 1] - open_[:, 0]
    longest = np.argsort(-length, kind="stable")[:LONGEST].tolist()
    gaps = tuple(
        Gap(
            start_s=(int(open_[n, 0]) - start) / 1e9,
            length_s=int(length[n]) / 1e9,
            after=names[int(activities.name[before[n]])],
            before=names[int(activities.name[after[n]])],
            waited_for="" if launched[n] < 0 else "host" if host[n] else "device",
        )
        for n in longest
    )
    used, place, count = np.unique(activities.name[before], return_inverse=True, return_counts=True)
    total = np.bincount(place, weights=length)
    by_host = np.bincount(place, weights=np.where(host, length, 0))
    grouped = tuple(
        GapsAfter(names[int(used[n])], int(count[n]), float(total[n]) / 1e9, float(by_host[n]) / 1e9)
        for n in np.argsort(-total, kind="stable").tolist()
    )
    return gaps, grouped
