"""The replayer: the events of a `.pgrun` file, in order, as far as the file is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from perfguard.errors import EventError
from perfguard.events.framing import LAYOUTS, LENGTH, MAGIC
from perfguard.events.rounds import Item, Rounds, decode, events_in, numbers_of, producer_of
from perfguard.events.schema import MAX_FRAME_BYTES, Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE_BYTES = 1024 * 1024


class Replay:
    """An opened recording: iterate over it, or over its `items`, then read what the end was like.

    `end_offset`: where in the file the last whole record ends, in bytes; `end_reason`: empty for a recording
    that ends with a whole record, else what is wrong after `end_offset`; `bad`: whole frames that were no
    events; `gaps`: events missing by their numbers; `duplicates`: events seen twice and given once.

    Raises `EventError` naming the file if it cannot be opened or is no recording (wrong first bytes).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end_offset = 0
        self.end_reason = ""
        self.bad = self.gaps = self.duplicates = 0
        try:
            with path.open("rb") as file:
                start = file.read(len(MAGIC))
        except OSError as error:
            raise EventError(str(path), f"cannot be read: {error.strerror}") from error
        if start[:-1] != MAGIC[:-1] or start[-1] not in LAYOUTS:
            if start[:-1] == MAGIC[:-1] and len(start) == len(MAGIC):
                problem = f"a recording of layout {start[-1]}, this perfguard reads {LAYOUTS[-1]} and older"
            elif start and MAGIC.startswith(start):
                problem = f"cut off after {len(start)} bytes, before its first event"
            else:
                problem = "not a recording"
            raise EventError(str(path), problem, "recordings are written with --perfguard-record")

    def __iter__(self) -> Iterator[Event]:
        """The events from the beginning, one by one."""
        return events_in(self.items())

    def items(self) -> Iterator[Item]:
        """The events from the beginning, as they lie in the file: single ones, and many rounds at once."""
        self.end_offset, self.end_reason = len(MAGIC), ""
        self.bad = self.gaps = self.duplicates = 0
        next_seq: dict[tuple[str, str], int] = {}
        with self.path.open("rb", buffering=0) as file:
            file.seek(len(MAGIC))
            for frame in self._frames(file):
                try:
                    item = decode(frame)
                except EventError:
                    self.bad += 1
                    continue
                producer, (seq, end) = producer_of(item), numbers_of(item)
                expected = next_seq.get(producer, 0)
                self.duplicates += max(0, min(end, expected) - seq)
                if end <= expected:
                    continue
                if seq < expected and isinstance(item, Rounds):
                    item = item.part(expected - seq, len(item))
                self.gaps += max(0, seq - expected)
                next_seq[producer] = end
                yield item

    def _frames(self, file: BinaryIO) -> Iterator[bytes]:
        """The whole frames, read in large pieces; then `end_reason` says what the end is like if it is not clean."""
        held, at = b"", 0
        while True:
            size = LENGTH.unpack_from(held, at)[0] if len(held) - at >= LENGTH.size else 0
            if size > MAX_FRAME_BYTES:
                self.end_reason = f"a length of {size} bytes"
                return
            start = at + LENGTH.size
            if len(held) >= start + size:
                at = start + size
                self.end_offset += LENGTH.size + size
                yield held[start:at]
                continue
            more = file.read(_PIECE_BYTES)
            held, at = held[at:] + more, 0
            if not more:
                break
        if 0 < len(held) < LENGTH.size:
            self.end_reason = "cut off inside a length"
        elif held:
            size = LENGTH.unpack_from(held)[0]
            self.end_reason = f"cut off {len(held) - LENGTH.size} bytes into a frame of {size}"
