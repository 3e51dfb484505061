"""Metadata on the wire: what goes in comes out, and nothing else comes out."""

from __future__ import annotations

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard_suites.transport import wire
from perfguard_suites.transport.channel import Message, Stamps
from perfguard_suites.transport.errors import MalformedMessage, UnsendableMessage

TENSORS = (np.zeros((2, 3), np.float32), np.zeros((), np.int8), np.zeros((0, 5), bool))


def parsed(message: Message) -> Message:
    body = wire.body_bytes(message)
    head, parsed_body, end = wire.parse_head(wire.pack_head(message, body, 10, 20) + body)
    assert end == wire.HEAD_BYTES + len(body)
    return wire.message_of(head, parsed_body, tuple(np.zeros(s.shape, s.dtype) for s in parsed_body.specs), 30)


def test_everything_but_payload_survives_head_and_body() -> None:
    """Method, attributes with their types, shapes, dtypes, ids and stamps arrive as sent."""
    attributes = {"flag": True, "one": 1, "real": 1.0, "text": "ä", "none": None}
    sent = Message("mix", TENSORS, attributes, 7, None, Stamps(1, 2, 3, 4, 5))
    got = parsed(sent)
    assert (got.method, got.request_id, got.request_stamps) == ("mix", 7, Stamps(1, 2, 3, 4, 5))
    assert {name: (type(value), value) for name, value in got.attributes.items()} == {
        name: (type(value), value) for name, value in attributes.items()
    }
    assert [(t.shape, t.dtype) for t in got.tensors] == [(t.shape, t.dtype) for t in TENSORS]
    assert got.stamps is not None
    assert (got.stamps.begun_ns, got.stamps.copied_ns, got.stamps.arrived_ns) == (10, 20, 30)


@pytest.mark.parametrize("tensors", [(), TENSORS[:1], TENSORS])
@pytest.mark.parametrize("attributes", [{}, {"a": 1}, {"a": "x" * 37}])
def test_bodies_are_aligned(tensors: tuple[np.ndarray, ...], attributes: dict[str, object]) -> None:
    """What follows a body is as aligned as the message itself."""
    assert len(wire.body_bytes(Message("m", tensors, attributes))) % wire.ALIGN_BYTES == 0  # type: ignore[arg-type]


def test_remembered_bodies_follow_shape_and_dtype() -> None:
    """The memory of packed bodies never answers with another message's shapes."""
    shapes = [(4,), (2, 2), (1, 4)]
    for _ in range(2):
        for shape in shapes:
            for dtype in (np.float32, np.int32):
                got = parsed(Message("m", (np.zeros(shape, dtype),)))
                assert (got.tensors[0].shape, got.tensors[0].dtype) == (shape, np.dtype(dtype))


@pytest.mark.parametrize(
    "body",
    [
        [],
        ["m"],
        "m",
        {"m": 1},
        [1, {}, [], ""],
        ["", {}, [], ""],
        ["m" * 200, {}, [], ""],
        ["m", [], [], ""],
        ["m", {"a": [1]}, [], ""],
        ["m", {"a": b"x"}, [], ""],
        ["m", {}, {}, ""],
        ["m", {}, [["float32"]], ""],
        ["m", {}, [["float32", 3]], ""],
        ["m", {}, [["float32", [-1]]], ""],
        ["m", {}, [["float32", [1.5]]], ""],
        ["m", {}, [["float32", [True]]], ""],
        ["m", {}, [["object", [1]]], ""],
        ["m", {}, [[["f4"], [1]]], ""],
        ["m", {}, [["float32", [1] * 17]], ""],
        ["m", {}, [["float32", [2**39, 2**39]]], ""],
        ["m", {}, [["float32", [0, 2**40, 2**40]]], ""],
        ["m", {}, [["int8", [1]]] * 65, ""],
        None,
        3,
    ],
)
def test_wrong_bodies_are_refused(body: object) -> None:
    """Each part that is missing, of the wrong type, negative or too large is a MalformedMessage."""
    with pytest.raises(MalformedMessage):
        wire.parse_body(msgpack.packb(body))


@given(st.binary(max_size=300))
def test_garbage_is_never_a_message(data: bytes) -> None:
    """Random bytes are refused as malformed; nothing else is raised."""
    with pytest.raises(MalformedMessage):
        wire.parse_head(data)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_flipped_byte_is_a_message_or_malformed(position: int, value: int) -> None:
    """A message with one byte changed either parses or is MalformedMessage: no other error."""
    message = Message("echo", TENSORS, {"a": 1})
    body = wire.body_bytes(message)
    data = bytearray(wire.pack_head(message, body, 1, 2) + body)
    data[position % len(data)] = value
    with contextlib.suppress(MalformedMessage):
        wire.parse_head(bytes(data))


@pytest.mark.parametrize(
    "message",
    [
        Message(""),
        Message("m" * 129),
        Message("m", (), {"a": object()}),
        Message("m", (), {"a": 2**70}),  # type: ignore[dict-item]
        Message("m", (), {1: 2}),
        Message("m", (), {"a": "x" * 7000}),
        Message("m", (np.zeros(1),) * 65),  # type: ignore[dict-item]
        Message("m", (np.zeros((1,) * 17),)),
        Message("m", (np.zeros(1, ">f4"),)),
        Message("m", (np.zeros(1, object),)),
        Message("m", (), {f"a{number}": 1 for number in range(65)}),
    ],
)
def test_what_cannot_travel_is_refused_at_the_sender(message: Message) -> None:
    """The sender says what cannot travel, before anything is sent."""
    with pytest.raises(UnsendableMessage):
        wire.body_bytes(message)


def test_negative_request_ids_are_refused() -> None:
    """A head that cannot be packed is the sender's error."""
    with pytest.raises(UnsendableMessage):
        wire.pack_head(Message("m", request_id=-1), b"", 1, 2)
