"""Commit order: by the place of each commit on the line of its branch, not by when it was measured."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Place(NamedTuple):
    """What orders a run: its commit's position and time (None: unknown), and when the run started."""

    position: int | None
    committed: dt.datetime | None
    started: dt.datetime

    @property
    def moment(self) -> dt.datetime:
        """When the commit was made, or else measured."""
        return self.committed or self.started


def in_commit_order(items: Sequence[T], place: Callable[[T], Place]) -> list[T]:
    """The items, oldest commit first; several of one commit in the order in which they started.

    A commit without position (a shallow clone) goes behind the last one that has any and is not younger.
    """
    places = [place(item) for item in items]
    if all(p.position is not None for p in places):
        return [items[i] for i in sorted(range(len(items)), key=lambda i: (places[i].position, places[i].started))]
    known = sorted((p for p in places if p.position is not None), key=lambda p: (p.position or 0, p.started))
    latest = list(accumulate((p.moment for p in known), max))

    def key(index: int) -> tuple[float, dt.datetime, dt.datetime]:
        p = places[index]
        if p.position is not None:
            return float(p.position), p.started, p.started
        before = bisect_right(latest, p.moment)
        return (known[before - 1].position or 0) + 0.5 if before else -1.0, p.moment, p.started

    return [items[index] for index in sorted(range(len(items)), key=key)]
