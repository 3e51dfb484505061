"""Metadata as bytes: one fixed head (ids and stamps) and one msgpack body (method, attributes, dtypes and shapes).

The head changes with every message and is cheap to pack; the body repeats from call to call, so that both
ends remember the bodies they have seen. Everything that arrives is bounded and validated here before it
becomes a tensor; offsets and lengths are checked by whoever owns the memory they point into.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from time import perf_counter_ns
from types import MappingProxyType
from typing import Any, NamedTuple

import msgpack

from perfguard_suites.transport.channel import Message, Scalar, Stamps, Tensor
from perfguard_suites.transport.dtypes import Dtype, dtype_of, name_of
from perfguard_suites.transport.errors import MalformedMessage, UnsendableMessage

MAX_TENSORS = 64
MAX_DIMENSIONS = 16
MAX_BODY_BYTES = 8 * 1024
MAX_NAME = 128
MAX_ATTRIBUTES = 64
MAX_TENSOR_BYTES = 1 << 40
_REMEMBERED = 512
_REMEMBERED_BYTES = 1024

# magic and version, body bytes, number of tensors, request id, sender's stamps, the request's stamps
_HEAD = struct.Struct("<IHHQ3Q5Q")
_MAGIC = 0x31474650
HEAD_BYTES = _HEAD.size
NO_ATTRIBUTES: Mapping[str, Scalar] = MappingProxyType({})
_NO_STAMPS = (0, 0, 0, 0, 0)


class Spec(NamedTuple):
    """One tensor of a message: what it is, not where."""

    dtype: Dtype
    shape: tuple[int, ...]
    size_bytes: int


class Body(NamedTuple):
    """The part of a message that repeats."""

    method: str
    attributes: Mapping[str, Scalar]
    specs: tuple[Spec, ...]


class Head(NamedTuple):
    """The part of a message that never repeats; `sent` are the sender's three stamps."""

    request_id: int
    sent: tuple[int, int, int]
    request_stamps: Stamps | None
    body: Body


_packed: dict[tuple[str, tuple[tuple[Dtype, tuple[int, ...]], ...]], bytes] = {}
_parsed: dict[bytes, Body] = {}


def body_bytes(message: Message) -> bytes:
    """The packed body. Raises `UnsendableMessage` naming what cannot travel."""
    tensors = message.tensors
    if message.attributes:
        return _pack_body(message)
    if not tensors:
        key: Any = (message.method, ())
    elif len(tensors) == 1:
        key = (message.method, ((tensors[0].dtype, tensors[0].shape),))
    else:
        key = (message.method, tuple((tensor.dtype, tensor.shape) for tensor in tensors))
    found = _packed.get(key)
    if found is None:
        found = _pack_body(message)
        if len(_packed) >= _REMEMBERED:
            _packed.clear()
        _packed[key] = found
    return found


def _pack_body(message: Message) -> bytes:
    _check_sendable(message.method, message.attributes, message.tensors)
    body = [message.method, dict(message.attributes),
            [[name_of(tensor.dtype), tensor.shape] for tensor in message.tensors]]
    try:
        packed: bytes = msgpack.packb(body, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsendableMessage(f"method {message.method!r}", f"attributes cannot be packed: {error}") from error
    if len(packed) > MAX_BODY_BYTES:
        raise UnsendableMessage(f"method {message.method!r}",
                                f"{len(packed)} bytes of metadata, the limit is {MAX_BODY_BYTES}",
                                "send long values as a tensor")
    return packed


def _check_sendable(method: str, attributes: Mapping[str, Scalar], tensors: tuple[Tensor, ...]) -> None:
    if not method or len(method) > MAX_NAME:
        raise UnsendableMessage(f"method {method!r:.80}", f"1 to {MAX_NAME} characters are allowed")
    if len(tensors) > MAX_TENSORS:
        raise UnsendableMessage(f"method {method!r}", f"{len(tensors)} tensors, the limit is {MAX_TENSORS}")
    if any(tensor.ndim > MAX_DIMENSIONS for tensor in tensors):
        raise UnsendableMessage(f"method {method!r}", f"a tensor has more than {MAX_DIMENSIONS} dimensions")
    reason = _attributes_fault(attributes)
    if reason:
        raise UnsendableMessage(f"method {method!r}", reason)


def _attributes_fault(attributes: Mapping[Any, Any]) -> str:
    if len(attributes) > MAX_ATTRIBUTES:
        return f"{len(attributes)} attributes, the limit is {MAX_ATTRIBUTES}"
    for name, value in attributes.items():
        if not isinstance(name, str) or not name or len(name) > MAX_NAME:
            return f"attribute name {name!r:.80} is not a string of 1 to {MAX_NAME} characters"
        if value is not None and not isinstance(value, bool | int | float | str):
            return f"attribute {name!r} is a {type(value).__name__}"
    return ""


def pack_head(message: Message, body: bytes, begun_ns: int, copied_ns: int) -> bytes:
    """The head with `packed_ns` taken now, as the last act before the transport has it."""
    try:
        return _HEAD.pack(_MAGIC, len(body), len(message.tensors), message.request_id,
                          begun_ns, copied_ns, perf_counter_ns(), *(message.request_stamps or _NO_STAMPS))
    except struct.error as error:
        raise UnsendableMessage(f"method {message.method!r}",
                                f"request id {message.request_id} or stamps out of range") from error


def parse_head(data: bytes | memoryview) -> tuple[Head, int]:
    """The head and body at the start of `data`, and how many bytes they took. Raises `MalformedMessage`."""
    if len(data) < HEAD_BYTES:
        raise MalformedMessage("head", f"{len(data)} bytes, a head has {HEAD_BYTES}")
    (magic, body_size, tensors, request_id, begun, copied, packed,
     s0, s1, s2, s3, s4) = _HEAD.unpack_from(data)
    end = HEAD_BYTES + body_size
    if magic != _MAGIC:
        raise MalformedMessage("head", f"magic {magic:#x}, not {_MAGIC:#x}", "is the peer of the same version?")
    if body_size > MAX_BODY_BYTES or end > len(data):
        raise MalformedMessage("head", f"a body of {body_size} bytes in a message of {len(data)}")
    body = parse_body(bytes(data[HEAD_BYTES:end]))
    if len(body.specs) != tensors:
        raise MalformedMessage("head", f"{tensors} tensors announced, {len(body.specs)} described")
    # The tuple constructor of a named tuple costs twice as much as the tuple's own.
    stamps = tuple.__new__(Stamps, (s0, s1, s2, s3, s4)) if s0 else None
    return tuple.__new__(Head, (request_id, (begun, copied, packed), stamps, body)), end


def parse_body(data: bytes) -> Body:
    """The body in `data`. Raises `MalformedMessage` saying which part is wrong."""
    found = _parsed.get(data)
    if found is not None:
        return found
    try:
        raw = msgpack.unpackb(data, raw=False, strict_map_key=True, max_str_len=MAX_BODY_BYTES,
                              max_array_len=MAX_TENSORS, max_map_len=MAX_ATTRIBUTES, max_bin_len=0, max_ext_len=0)
    except Exception as error:  # noqa: BLE001 - msgpack raises many types on hostile input; all mean garbage
        raise MalformedMessage("body", f"not msgpack: {error!r:.200}") from error
    body = validate_body(raw)
    if len(data) <= _REMEMBERED_BYTES:
        if len(_parsed) >= _REMEMBERED:
            _parsed.clear()
        _parsed[data] = body
    return body


def validate_body(raw: Any) -> Body:
    """`[method, attributes, [[dtype, shape], ...]]` checked part by part. Raises `MalformedMessage`."""
    if not isinstance(raw, list) or len(raw) != 3:
        raise MalformedMessage("body", "not a list of method, attributes, tensors")
    method, attributes, tensors = raw
    if not isinstance(method, str) or not 0 < len(method) <= MAX_NAME:
        raise MalformedMessage("body", f"method {method!r:.80} is not a name")
    if not isinstance(attributes, dict):
        raise MalformedMessage("body", f"attributes are a {type(attributes).__name__}")
    reason = _attributes_fault(attributes)
    if reason:
        raise MalformedMessage("body", reason)
    if not isinstance(tensors, list) or len(tensors) > MAX_TENSORS:
        raise MalformedMessage("body", "the tensors are no list, or too many")
    return Body(method, MappingProxyType(attributes), tuple(spec_of(raw) for raw in tensors))


def spec_of(raw: Any) -> Spec:
    """`[dtype, shape]` checked. Raises `MalformedMessage`."""
    if not isinstance(raw, list) or len(raw) != 2 or not isinstance(raw[1], list):
        raise MalformedMessage("tensor", "not a pair of dtype and shape")
    dtype, shape = dtype_of(raw[0]), raw[1]
    if len(shape) > MAX_DIMENSIONS:
        raise MalformedMessage("tensor", f"{len(shape)} dimensions, the limit is {MAX_DIMENSIONS}")
    if any(type(extent) is not int or not 0 <= extent <= MAX_TENSOR_BYTES for extent in shape):
        raise MalformedMessage("tensor", f"shape {shape!r:.120} is impossible")
    # numpy refuses huge extents beside a zero as well, so the zeros do not excuse the others.
    extent_bytes = math.prod(extent for extent in shape if extent) * dtype.itemsize
    if extent_bytes > MAX_TENSOR_BYTES:
        raise MalformedMessage("tensor", f"{extent_bytes} bytes, the limit is {MAX_TENSOR_BYTES}")
    return Spec(dtype, tuple(shape), 0 if 0 in shape else extent_bytes)


def message_of(head: Head, tensors: tuple[Tensor, ...], arrived_ns: int) -> Message:
    """The message as received, its stamps completed now."""
    body = head.body
    stamps = tuple.__new__(Stamps, (*head.sent, arrived_ns, perf_counter_ns()))
    return Message(body.method, tensors, body.attributes, head.request_id, stamps, head.request_stamps)
