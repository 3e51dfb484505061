"""The messages of the second socket: packed, read back, and never believed unseen."""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.errors import EventError
from perfguard.events.framing import record_of
from perfguard.events.protocol import (
    Header,
    Request,
    pack_header,
    pack_request,
    unpack_answer,
    unpack_request,
)


def test_messages_survive_the_way() -> None:
    """What is packed is what is read."""
    request = Request("since", 12)
    assert unpack_request([pack_request(request)]) == request
    header = Header("r", "main", 3, 9, 1, closing=True)
    assert unpack_answer([pack_header(header), record_of(b"a") + record_of(b"bc")]) == (header, [b"a", b"bc"])


@given(st.lists(st.binary(max_size=300), max_size=3))
def test_any_bytes_are_a_message_or_an_event_error(parts: list[bytes]) -> None:
    """Garbage raises EventError and nothing else."""
    with contextlib.suppress(EventError):
        unpack_request(parts)
    with contextlib.suppress(EventError):
        unpack_answer(parts)


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"ask": "all"}, {"ask": 1}, {"seq": -1}, {"seq": True}, {"seq": 2**60}, {"seq": "1"}, {"seq": None}],
)
def test_requests_out_of_bounds_are_refused(change: dict[str, object]) -> None:
    """Each field is checked."""
    raw = {"v": 1, "ask": "since", "seq": 0} | change
    with pytest.raises(EventError):
        unpack_request([msgpack.packb(raw)])


@pytest.mark.parametrize(
    "change", [{"run": 1}, {"src": None}, {"next": 10}, {"head": -1}, {"shed": 1.5}, {"closing": 0}, {"v": 9}]
)
def test_headers_out_of_bounds_are_refused(change: dict[str, object]) -> None:
    """Each field is checked, and that the next number is not beyond the head."""
    raw = {"v": 1, "run": "r", "src": "s", "next": 0, "head": 5, "shed": 0, "closing": False} | change
    with pytest.raises(EventError):
        unpack_answer([msgpack.packb(raw), b""])


def test_a_blob_cut_off_is_refused() -> None:
    """A length that points past the end is no frame."""
    header = pack_header(Header("r", "main", 3, 9, 1, closing=False))
    for blob in (b"\x01", record_of(b"abc")[:-1], b"\xff\xff\xff\xff"):
        with pytest.raises(EventError):
            unpack_answer([header, blob])
