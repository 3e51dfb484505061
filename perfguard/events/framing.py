"""How frames lie one behind the other in a recording and in a snapshot: u32 length, then the frame.

A recording starts with `MAGIC`, whose last byte is the version of the layout: 2 may hold many rounds in a frame, 1
(read all the same) does not. A record is one length with its frame; recorder, history and snapshot share the same
record bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from perfguard.errors import EventError
from perfguard.events.schema import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

# As with PNG: a byte no text starts with, a name, a line end that text-mode copies would mangle, a version.
MAGIC = b"\x89PGRUN\n\x02"
LAYOUTS = (1, 2)
LENGTH = struct.Struct("<I")


def record_of(frame: bytes) -> bytes:
    """The frame with its length before it."""
    return LENGTH.pack(len(frame)) + frame


def frames_in(blob: bytes) -> Iterator[bytes]:
    """The frames of a run of records. Raises `EventError` where a length points past the end or the limit."""
    offset = 0
    while offset < len(blob):
        if offset + LENGTH.size > len(blob):
            raise EventError("records", f"cut off inside a length at byte {offset}")
        (size,) = LENGTH.unpack_from(blob, offset)
        start = offset + LENGTH.size
        if size > MAX_FRAME_BYTES or start + size > len(blob):
            raise EventError("records", f"a frame of {size} bytes at byte {offset} does not fit")
        yield blob[start : start + size]
        offset = start + size
