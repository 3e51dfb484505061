"""The latest rounds and spans as they came: for the raw record of a sample, and for the phases of what runs now."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

import numpy as np

from perfguard.events.rounds import Item, Rounds
from perfguard.events.schema import Event

MAX_EVENTS = 2000
MAX_BYTES = 16 * 1024 * 1024  # of frames of many rounds

Phased: TypeAlias = tuple[float, Mapping[str, float]]
"""The value of a round, and its phases."""


class LatestEvents:
    """The latest `MAX_EVENTS` of what was appended, single or many at once; fewer if their frames are large."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._events = 0
        self._bytes = 0

    def append(self, item: Item) -> None:
        """One more, or many more; not to be changed."""
        self._items.append(item)
        if isinstance(item, Rounds):
            self._bytes += item.size_bytes
            self._events += len(item)
        else:
            self._events += 1
            if self._events <= MAX_EVENTS:
                return
            if not self._bytes:  # single ones alone, of which there may be twenty thousand a second
                self._items.popleft()
                self._events -= 1
                return
        while self._events - _events(self._items[0]) >= MAX_EVENTS or self._bytes > MAX_BYTES:
            gone = self._items.popleft()
            self._events -= _events(gone)
            self._bytes -= _bytes(gone)

    def of_round(self, case_id: str, index: int) -> tuple[Event, ...]:
        """The events of that round, in the order of coming."""
        return tuple(self._of_round(case_id, index))

    def _of_round(self, case_id: str, index: int) -> Iterator[Event]:
        for item in self._latest():
            if isinstance(item, Rounds):
                yield from map(item.event, np.flatnonzero(item.of_case(case_id) & (item.index == index)).tolist())
            elif item["case"] == case_id and item.get("index", item.get("round")) == index:
                yield item

    def phased(self, cases: Collection[str], most: int) -> dict[str, list[Phased]]:
        """The latest rounds that have phases, at most so many of each of these cases, oldest first."""
        found: dict[str, list[tuple[Item, int]]] = {case: [] for case in cases}
        missing = len(found)
        for item in reversed(tuple(self._latest())):
            for case, at in _phased_rows(item, found):
                if len(found[case]) < most:
                    found[case].append((item, at))
                    missing -= len(found[case]) == most
            if not missing:
                break
        return {case: [_phased(*one) for one in reversed(rows)] for case, rows in found.items() if rows}

    def _latest(self) -> Iterator[Item]:
        """What was appended, without what of its oldest is over the bound."""
        over = max(0, self._events - MAX_EVENTS)  # always less than the oldest has
        for item in self._items:
            yield item.part(over, len(item)) if over and isinstance(item, Rounds) else item
            over = 0


def _phased_rows(item: Item, cases: Collection[str]) -> list[tuple[str, int]]:
    """The rows of these cases that have phases, the latest first, each with its case."""
    if not isinstance(item, Rounds):
        return [(item["case"], 0)] if item["case"] in cases and item.get("phases") else []
    wanted = [case in cases for case, _ in item.series]
    phased = [bool(paths) for paths in item.paths]
    if not any(wanted) or not any(phased):
        return []
    rows = np.flatnonzero(np.array(wanted)[item.row] & np.array(phased)[item.shape])[::-1].tolist()
    return [(item.series[item.row[at]][0], at) for at in rows]


def _phased(item: Item, at: int) -> Phased:
    if isinstance(item, Rounds):
        return float(item.value[at]), item.phases_of(at) or {}
    return item["value"], item["phases"]


def _events(item: Item) -> int:
    return len(item) if isinstance(item, Rounds) else 1


def _bytes(item: Item) -> int:
    return item.size_bytes if isinstance(item, Rounds) else 0
