"""The history of a run, kept for late viewers within a bound on memory.

Over the bound the numerous kinds (`round`, `rounds`, `spans`) go first, oldest first, then the oldest of the
others; the first record of the run, with its plan, always stays. A reader learns how many numbers it will never see.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from dataclasses import dataclass, field

from perfguard.events.schema import ROUNDS

HISTORY_BYTES = 64 * 1024 * 1024
# What a record costs beside its bytes: the bytes object, its number and its place in a dict.
OVERHEAD_BYTES = 150
SEGMENT_EVENTS = 1024
_SEGMENTS_A_CHUNK = 64
_NUMEROUS_KINDS = frozenset({"round", ROUNDS, "spans"})


@dataclass(slots=True)
class _Segment:
    """Consecutive numbers, `SEGMENT_EVENTS` or a few more; what is in neither map was shed.

    `starts`: the first number of each record; the last one reaches to `end`.
    """

    end: int
    starts: list[int] = field(default_factory=list)
    lasting: dict[int, bytes] = field(default_factory=dict)
    numerous: dict[int, bytes] = field(default_factory=dict)

    def events(self, start: int) -> int:
        """How many events the record that starts there holds."""
        after = bisect_right(self.starts, start)
        return (self.starts[after] if after < len(self.starts) else self.end) - start


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records numbered below `next_seq`; `head` is the run's next number: equal means that was all."""

    blob: bytes
    next_seq: int
    head: int


class History:
    """The records of one producer, appended by its threads and read by the one that answers viewers."""

    def __init__(self, first_seq: int, limit_bytes: int = HISTORY_BYTES) -> None:
        self.shed_events = 0
        self.size_bytes = 0
        self._first = first_seq
        self._head = first_seq
        self._limit_bytes = limit_bytes
        self._segments: list[_Segment] = []
        self._firsts: list[int] = []  # the first number of each segment
        self._numerous_shed = 0  # segments before this one have no numerous records left
        self._lasting_shed = 0  # segments before this one are empty but for the first record
        self._lock = threading.Lock()

    def append(self, record: bytes, kind: str, seq: int | None = None, events: int = 1) -> None:
        """Keep the record of `events` numbers from `seq` on, or from the next one on.

        Numbers between, which an interrupt took, stay empty; numbers that are already here are not kept again.
        """
        with self._lock:
            start = self._head if seq is None else max(self._head, seq)
            end = start + events if seq is None else seq + events
            if end <= start:
                return
            if not self._segments or start - self._firsts[-1] >= SEGMENT_EVENTS:
                self._segments.append(_Segment(start))
                self._firsts.append(start)
            segment = self._segments[-1]
            (segment.numerous if kind in _NUMEROUS_KINDS else segment.lasting)[start] = record
            segment.starts.append(start)
            self._head = segment.end = end
            self.size_bytes += len(record) + OVERHEAD_BYTES
            if self.size_bytes > self._limit_bytes:
                self._shed()

    def since(self, seq: int, max_bytes: int) -> Chunk:
        """The kept records that hold number `seq` and what follows, up to about `max_bytes`, one at least if any."""
        with self._lock:
            records: list[bytes] = []
            size = 0
            position = min(max(seq, self._first), self._head)
            at = max(0, bisect_right(self._firsts, position) - 1)
            # Not more: a long stretch that was shed must not hold the producer up.
            for segment in self._segments[at : at + _SEGMENTS_A_CHUNK]:
                if segment.end <= position:  # its last record holds none of what was asked for
                    continue
                begin = max(0, bisect_right(segment.starts, position) - 1)
                for start in segment.starts[begin:] if segment.lasting or segment.numerous else ():
                    record = segment.lasting.get(start) or segment.numerous.get(start)
                    if record is None:
                        continue
                    if records and size + len(record) > max_bytes:
                        return Chunk(b"".join(records), max(position, start), self._head)
                    records.append(record)
                    size += len(record)
                position = max(position, segment.end)
            return Chunk(b"".join(records), position, self._head)

    def _shed(self) -> None:
        """Down to seven eighths of the bound, so that shedding is rare."""
        goal = self._limit_bytes - self._limit_bytes // 8
        while self.size_bytes > goal and self._numerous_shed < len(self._segments):
            segment = self._segments[self._numerous_shed]
            self._forget(segment, segment.numerous)
            self._numerous_shed += 1
        while self.size_bytes > goal and self._lasting_shed < len(self._segments):
            segment = self._segments[self._lasting_shed]
            opening = segment.lasting.pop(self._first, None)
            self._forget(segment, segment.lasting)
            if opening is not None:
                segment.lasting[self._first] = opening
            self._lasting_shed += 1
        # The last segment is still being filled: look at it again next time.
        last = len(self._segments) - 1
        self._numerous_shed = min(self._numerous_shed, last)
        self._lasting_shed = min(self._lasting_shed, last)

    def _forget(self, segment: _Segment, records: dict[int, bytes]) -> None:
        self.shed_events += sum(map(segment.events, records))
        self.size_bytes -= sum(len(record) + OVERHEAD_BYTES for record in records.values())
        records.clear()
