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
from typing import Any, NamedTuple, TypeAlias

import msgpack

from perfguard_suites.transport.channel import NO_ATTRIBUTES, Message, Scalar, Stamps, Tensor
from perfguard_suites.transport.dtypes import Dtype, dtype_of, name_of
from perfguard_suites.transport.errors import MalformedMessage, UnsendableMessage

MAX_TENSORS = 64
MAX_DIMENSIONS = 16
MAX_BODY_BYTES = 6 * 1024
MAX_NAME = 128
MAX_ATTRIBUTES = 64
MAX_TENSOR_BYTES = 1 << 40
_REMEMBERED = 512
_REMEMBERED_BYTES = 1024

# magic and version, body bytes, number of tensors, request id, sender's stamps, the request's stamps
_HEAD = struct.Struct("<IHHQ3Q5Q")
_MAGIC = 0x31474650
HEAD_BYTES = _HEAD.size
ALIGN_BYTES = 16  # of the head, of every body, and so of what follows them
NO_STAMPS = (0, 0, 0, 0, 0)
_unpack_head = _HEAD.unpack_from
# A named tuple's own constructor is a Python call: half of an empty message's cost would be that.
_new = tuple.__new__


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


# The part that never repeats, as unpacked: magic, body bytes, tensors, request id, begun_ns, copied_ns,
# packed_ns, and the request's five stamps (zeros unless a reply). A plain tuple: a named one costs a call.
Head: TypeAlias = "tuple[int, ...]"


_packed: dict[Any, bytes] = {}
_parsed: dict[bytes, Body] = {}


def body_bytes(message: Message) -> bytes:
    """The packed body. Raises `UnsendableMessage` naming what cannot travel."""
    method, tensors, attributes, *_ = message
    if attributes:
        return _pack_body(message)
    key: Any
    if not tensors:
        key = method
    elif len(tensors) == 1:
        key = (method, tensors[0].dtype, tensors[0].shape)
    else:
        key = (method, *[(tensor.dtype, tensor.shape) for tensor in tensors])
    found = _packed.get(key)
    if found is None:
        found = _pack_body(message)
        if len(_packed) >= _REMEMBERED:
            _packed.clear()
        _packed[key] = found
    return found


def _pack_body(message: Message) -> bytes:
    _check_sendable(message.method, message.attributes, message.tensors)
    body = [
        message.method,
        dict(message.attributes),
        [[name_of(tensor.dtype), tensor.shape] for tensor in message.tensors],
        "",
    ]
    try:
        packed: bytes = msgpack.packb(body, use_bin_type=True)
        body[-1] = " " * (-len(packed) % ALIGN_BYTES)
        packed = msgpack.packb(body, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsendableMessage(f"method {message.method!r}", f"attributes cannot be packed: {error}") from error
    if len(packed) > MAX_BODY_BYTES:
        raise UnsendableMessage(
            f"method {message.method!r}",
            f"{len(packed)} bytes of metadata, the limit is {MAX_BODY_BYTES}",
            "send long values as a tensor",
        )
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
        return _HEAD.pack(
            _MAGIC,
            len(body),
            len(message.tensors),
            message.request_id,
            begun_ns,
            copied_ns,
            perf_counter_ns(),
            *(message.request_stamps or NO_STAMPS),
        )
    except struct.error as error:
        raise UnsendableMessage(
            f"method {message.method!r}", f"request id {message.request_id} or stamps out of range"
        ) from error


def parse_head(data: bytes) -> tuple[Head, Body, int]:
    """Head and body at the start of `data`, and how many bytes they took. Raises `MalformedMessage`."""
    if len(data) < HEAD_BYTES:
        raise MalformedMessage("head", f"{len(data)} bytes, a head has {HEAD_BYTES}")
    head = _unpack_head(data)
    end = HEAD_BYTES + head[1]
    packed = data[HEAD_BYTES:end]
    body = _parsed.get(packed)
    if body is None or head[0] != _MAGIC:
        body = _parse_new(head, packed)
    if len(body.specs) != head[2]:
        raise MalformedMessage("head", f"{head[2]} tensors announced, {len(body.specs)} described")
    return head, body, end


def _parse_new(head: Head, packed: bytes) -> Body:
    if head[0] != _MAGIC:
        raise MalformedMessage("head", f"magic {head[0]:#x}, not {_MAGIC:#x}", "is the peer of the same version?")
    if head[1] > MAX_BODY_BYTES or head[1] != len(packed):
        raise MalformedMessage("head", f"a body of {head[1]} bytes where {len(packed)} are")
    return parse_body(packed)


def parse_body(data: bytes) -> Body:
    """The body in `data`. Raises `MalformedMessage` saying which part is wrong."""
    try:
        raw = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_BODY_BYTES,
            max_array_len=MAX_TENSORS,
            max_map_len=MAX_ATTRIBUTES,
            max_bin_len=0,
            max_ext_len=0,
        )
    except Exception as error:
        raise MalformedMessage("body", f"not msgpack: {error!r:.200}") from error
    body = validate_body(raw)
    if len(data) <= _REMEMBERED_BYTES:
        if len(_parsed) >= _REMEMBERED:
            _parsed.clear()
        _parsed[data] = body
    return body


def validate_body(raw: Any) -> Body:
    """`[method, attributes, [[dtype, shape], ...], padding]` checked part by part. Raises `MalformedMessage`."""
    if not isinstance(raw, list) or len(raw) != 4:
        raise MalformedMessage("body", "not a list of method, attributes, tensors, padding")
    method, attributes, tensors, _ = raw
    if not isinstance(method, str) or not 0 < len(method) <= MAX_NAME:
        raise MalformedMessage("body", f"method {method!r:.80} is not a name")
    if not isinstance(attributes, dict):
        raise MalformedMessage("body", f"attributes are a {type(attributes).__name__}")
    reason = _attributes_fault(attributes)
    if reason:
        raise MalformedMessage("body", reason)
    if not isinstance(tensors, list) or len(tensors) > MAX_TENSORS:
        raise MalformedMessage("body", "the tensors are no list, or too many")
    specs = tuple(spec_of(tensor) for tensor in tensors)
    return Body(method, MappingProxyType(attributes) if attributes else NO_ATTRIBUTES, specs)


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


def message_of(head: Head, body: Body, tensors: tuple[Tensor, ...], arrived_ns: int) -> Message:
    """The message as received, its stamps completed now."""
    request_stamps = _new(Stamps, head[7:]) if head[7] else None
    stamps = _new(Stamps, (*head[4:7], arrived_ns, perf_counter_ns()))
    return _new(Message, (body[0], tensors, body[1], head[3], stamps, request_stamps))
