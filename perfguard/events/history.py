"""What a late viewer is told: all records of the run so far, in memory, within a bound.

Over the bound the numerous kinds (`round`, `spans`) go first, oldest first, then the oldest of the others;
the first record of the run, with its plan, always stays. A reader learns how many numbers it will never see.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

HISTORY_BYTES = 64 * 1024 * 1024
# What a record costs beside its bytes: the bytes object, its number and its place in a dict.
OVERHEAD_BYTES = 150
SEGMENT_EVENTS = 1024
_SEGMENTS_A_CHUNK = 64
_NUMEROUS_KINDS = frozenset({"round", "spans"})


@dataclass(slots=True)
class _Segment:
    """`SEGMENT_EVENTS` consecutive numbers; what is in neither map was shed."""

    lasting: dict[int, bytes] = field(default_factory=dict)
    numerous: dict[int, bytes] = field(default_factory=dict)


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
        self._numerous_shed = 0  # segments before this one have no numerous records left
        self._lasting_shed = 0  # segments before this one are empty but for the first record
        self._lock = threading.Lock()

    def append(self, record: bytes, kind: str) -> None:
        """Keep the record of the next number."""
        with self._lock:
            place = self._head - self._first
            if place % SEGMENT_EVENTS == 0:
                self._segments.append(_Segment())
            segment = self._segments[-1]
            (segment.numerous if kind in _NUMEROUS_KINDS else segment.lasting)[self._head] = record
            self._head += 1
            self.size_bytes += len(record) + OVERHEAD_BYTES
            if self.size_bytes > self._limit_bytes:
                self._shed()

    def since(self, seq: int, max_bytes: int) -> Chunk:
        """The kept records from number `seq` on, up to about `max_bytes` but always at least one."""
        with self._lock:
            records: list[bytes] = []
            size = 0
            position = min(max(seq, self._first), self._head)
            last_segment = (position - self._first) // SEGMENT_EVENTS + _SEGMENTS_A_CHUNK
            while position < self._head:
                index = (position - self._first) // SEGMENT_EVENTS
                if index > last_segment:  # a long stretch that was shed: do not hold the producer up
                    break
                segment = self._segments[index]
                if not segment.lasting and not segment.numerous:
                    position = min(self._first + (index + 1) * SEGMENT_EVENTS, self._head)
                    continue
                record = segment.lasting.get(position) or segment.numerous.get(position)
                if record is not None:
                    if records and size + len(record) > max_bytes:
                        break
                    records.append(record)
                    size += len(record)
                position += 1
            return Chunk(b"".join(records), position, self._head)

    def _shed(self) -> None:
        """Down to seven eighths of the bound, so that shedding is rare."""
        goal = self._limit_bytes - self._limit_bytes // 8
        while self.size_bytes > goal and self._numerous_shed < len(self._segments):
            segment = self._segments[self._numerous_shed]
            self._forget(segment.numerous)
            self._numerous_shed += 1
        while self.size_bytes > goal and self._lasting_shed < len(self._segments):
            lasting = self._segments[self._lasting_shed].lasting
            opening = lasting.pop(self._first, None)
            self._forget(lasting)
            if opening is not None:
                lasting[self._first] = opening
            self._lasting_shed += 1
        # The last segment is still being filled: look at it again next time.
        last = len(self._segments) - 1
        self._numerous_shed = min(self._numerous_shed, last)
        self._lasting_shed = min(self._lasting_shed, last)

    def _forget(self, records: dict[int, bytes]) -> None:
        self.shed_events += len(records)
        self.size_bytes -= sum(len(record) + OVERHEAD_BYTES for record in records.values())
        records.clear()
