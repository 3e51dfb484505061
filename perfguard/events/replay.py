"""The replayer: the events of a `.pgrun` file, in order, as far as the file is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from perfguard.errors import EventError
from perfguard.events.framing import LENGTH, MAGIC
from perfguard.events.schema import MAX_FRAME_BYTES, Event, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Replay:
    """An opened recording: iterate over it, then read what the end was like.

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
        if start != MAGIC:
            if start[:-1] == MAGIC[:-1] and len(start) == len(MAGIC):
                problem = f"a recording of layout {start[-1]}, this perfguard reads {MAGIC[-1]}"
            elif start and MAGIC.startswith(start):
                problem = f"cut off after {len(start)} bytes, before its first event"
            else:
                problem = "not a recording"
            raise EventError(str(path), problem, "recordings are written with --perfguard-record")

    def __iter__(self) -> Iterator[Event]:
        """The events from the beginning."""
        self.end_offset, self.end_reason = len(MAGIC), ""
        self.bad = self.gaps = self.duplicates = 0
        next_seq: dict[tuple[str, str], int] = {}
        with self.path.open("rb", buffering=1024 * 1024) as file:
            file.seek(len(MAGIC))
            while (frame := self._next_frame(file)) is not None:
                try:
                    event = unpack(frame)
                except EventError:
                    self.bad += 1
                    continue
                producer = (event["run"], event["src"])
                expected = next_seq.get(producer, 0)
                if event["seq"] < expected:
                    self.duplicates += 1
                    continue
                self.gaps += event["seq"] - expected
                next_seq[producer] = event["seq"] + 1
                yield event

    def _next_frame(self, file: BinaryIO) -> bytes | None:
        """The next whole frame, or None at the end, with `end_reason` set if it is not a clean one."""
        head = file.read(LENGTH.size)
        if not head:
            return None
        size = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else None
        if size is None or size > MAX_FRAME_BYTES:
            self.end_reason = "cut off inside a length" if size is None else f"a length of {size} bytes"
            return None
        frame = file.read(size)
        if len(frame) < size:
            self.end_reason = f"cut off {len(frame)} bytes into a frame of {size}"
            return None
        self.end_offset += LENGTH.size + size
        return frame
