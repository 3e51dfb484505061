"""What viewer and run say to each other on the second socket, each message validated and bounded.

A viewer asks `{"v": 1, "ask": "since", "seq": n, "reads": 2}` and gets a header with a blob of records (see
`framing`); it asks again until it has reached the head, and later whenever live events were lost or have paused.
`reads` is the newest version of frames that it knows: one that does not say so is answered in single events, and
gets by asking what it could not read live. At the end the run sends `closing` and stays a moment for viewers that
still have to catch up; they say `bye`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import msgpack

from perfguard.errors import EventError
from perfguard.events.framing import frames_in, record_of
from perfguard.events.schema import BATCH_VERSION, VERSION, pack

CHUNK_BYTES = 256 * 1024
# Larger frames are not pushed to viewers but left for them to ask for: it bounds what a stalled one can hold.
PUSH_BYTES = 64 * 1024
MAX_ASK_BYTES = 256
MAX_HEADER_BYTES = 4096

Ask = Literal["since", "bye"]


@dataclass(frozen=True, slots=True)
class Request:
    """One question of a viewer."""

    ask: Ask
    seq: int
    reads: int = BATCH_VERSION


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before a blob: the next number to ask for, the run's head, how many events it has shed."""

    run: str
    src: str
    next_seq: int
    head: int
    shed: int
    closing: bool


def pack_request(request: Request) -> bytes:
    """The request as bytes."""
    packed: bytes = msgpack.packb({"v": VERSION, "ask": request.ask, "seq": request.seq, "reads": request.reads})
    return packed


def unpack_request(parts: list[bytes]) -> Request:
    """The request in the parts of a message. Raises `EventError` if it is none."""
    if len(parts) != 1:
        raise EventError("request", f"{len(parts)} parts, not one")
    raw = _unpack(parts[0], MAX_ASK_BYTES)
    ask, seq, reads = raw.get("ask"), raw.get("seq"), raw.get("reads", VERSION)
    if ask not in ("since", "bye") or not _is_count(seq) or not _is_count(reads):
        raise EventError("request", "not one this run answers")
    return Request(ask, seq, reads)


def pack_header(header: Header) -> bytes:
    """The header as bytes."""
    packed: bytes = msgpack.packb(
        {
            "v": VERSION,
            "run": header.run,
            "src": header.src,
            "next": header.next_seq,
            "head": header.head,
            "shed": header.shed,
            "closing": header.closing,
        }
    )
    return packed


def unpack_answer(parts: list[bytes]) -> tuple[Header, list[bytes]]:
    """The header and the frames in the parts of a message. Raises `EventError` if it is no answer."""
    if len(parts) != 2:
        raise EventError("answer", f"{len(parts)} parts, not two")
    raw = _unpack(parts[0], MAX_HEADER_BYTES)
    run, src, closing = raw.get("run"), raw.get("src"), raw.get("closing")
    next_seq, head, shed = raw.get("next"), raw.get("head"), raw.get("shed")
    if not isinstance(run, str) or not isinstance(src, str) or not isinstance(closing, bool):
        raise EventError("header", "names no run")
    if not (_is_count(next_seq) and _is_count(head) and _is_count(shed)) or next_seq > head:
        raise EventError("header", "its numbers make no sense")
    return Header(run, src, next_seq, head, shed, closing), list(frames_in(parts[1]))


def one_by_one(blob: bytes) -> bytes:
    """The same records with every event in one of its own, for a viewer that reads no columns."""
    from perfguard.events.rounds import Rounds, decode

    records: list[bytes] = []
    for frame in frames_in(blob):
        item = decode(frame)
        records += map(record_of, map(pack, item)) if isinstance(item, Rounds) else [record_of(frame)]
    return b"".join(records)


def _unpack(data: bytes, limit: int) -> dict[str, Any]:
    if len(data) > limit:
        raise EventError("message", f"{len(data)} bytes, the limit is {limit}")
    try:
        raw = msgpack.unpackb(data, strict_map_key=True, max_ext_len=0)
    except Exception as error:  # msgpack raises many types on hostile input; all mean garbage
        raise EventError("message", f"not msgpack: {error!r}") from error
    if not isinstance(raw, dict) or raw.get("v") != VERSION:
        raise EventError("message", f"not of version {VERSION}")
    return raw


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
