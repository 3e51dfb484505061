"""Channels over ZeroMQ: the naive wire of the seeds, and multipart frames without copies."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import zmq

from perfguard_suites.transport import wire
from perfguard_suites.transport.channel import Message, Tensor
from perfguard_suites.transport.dtypes import name_of, plain, resolve
from perfguard_suites.transport.errors import (
    CapacityExceeded,
    ChannelUnavailable,
    MalformedMessage,
)
from perfguard_suites.transport.zmq_link import Link

_STAMP = struct.Struct("<Q")
_SMALL = 64 * 1024


class _ZmqChannel:
    """What both wires share: the link, the counts, and loans that are ordinary memory."""

    def __init__(self, kind: str, link: Link, capacity_bytes: int) -> None:
        self._kind = kind
        self._link = link
        self._capacity_bytes = capacity_bytes
        self._sent_bytes = 0
        self._received_bytes = 0

    @property
    def kind(self) -> str:
        """The kind this channel was opened as."""
        return self._kind

    @property
    def endpoint(self) -> str:
        """ZMQ_LAST_ENDPOINT as the socket reported it."""
        return self._link.endpoint

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The ZeroMQ socket, for who asks it about itself."""
        return self._link.socket

    def loan(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Tensor:
        """Ordinary memory: ZeroMQ has none to lend."""
        return np.empty(tuple(shape), resolve(dtype))

    def hand_back(self, tensor: Tensor) -> Tensor:
        """The tensor as it is: its message owns its memory."""
        return tensor

    def spin_for(self, spin_us: float) -> None:
        """Without effect: ZeroMQ's own thread takes what arrives."""

    def payload_bytes(self) -> tuple[int, int]:
        """Tensor payload bytes (sent, received) so far."""
        return self._sent_bytes, self._received_bytes

    def close(self) -> None:
        """Close the link; idempotent."""
        self._link.close()

    def _checked_size(self, tensors: tuple[Tensor, ...]) -> int:
        size_bytes = sum([tensor.nbytes for tensor in tensors])
        if size_bytes > self._capacity_bytes:
            raise CapacityExceeded(
                "capacity_bytes",
                f"a message of {size_bytes} bytes over a channel of {self._capacity_bytes}",
                f"set capacity_bytes to at least {size_bytes}",
            )
        return size_bytes


class MultipartChannel(_ZmqChannel):
    """A metadata frame, then one frame for each tensor: sent without a copy, received as views of the frames."""

    def send(self, message: Message, timeout_s: float = 10.0) -> None:
        """Frames refer to the caller's memory: leave it alone until the peer has answered."""
        begun_ns = perf_counter_ns()
        tensors = message.tensors
        size_bytes = self._checked_size(tensors)
        frames: list[Any] = [plain(np.ascontiguousarray(tensor)).reshape(-1).data for tensor in tensors]
        copied_ns = perf_counter_ns()
        body = wire.body_bytes(message)
        frames.insert(0, wire.pack_head(message, body, begun_ns, copied_ns) + body)
        self._link.send(frames, timeout_s, copy=not tensors)
        self._sent_bytes += size_bytes

    def recv(self, timeout_s: float = 10.0) -> Message:
        """The next message; its tensors are views of ZeroMQ's frames."""
        frames = self._link.recv(timeout_s)
        arrived_ns = perf_counter_ns()
        head, body, _ = wire.parse_head(frames[0].bytes)
        specs = body.specs
        if len(frames) != len(specs) + 1:
            raise MalformedMessage("multipart message", f"{len(frames)} frames for {len(specs)} tensors")
        tensors = tuple(_view(spec, frame.buffer) for spec, frame in zip(specs, frames[1:], strict=True))
        self._received_bytes += sum([spec.size_bytes for spec in specs])
        return wire.message_of(head, body, tensors, arrived_ns)


class NaiveChannel(_ZmqChannel):
    """The wire of the seed documents: one msgpack map with every tensor's `tobytes()` inside.

    Only the time of packing is outside the map, behind it: it is not known before the map is packed.
    """

    def send(self, message: Message, timeout_s: float = 10.0) -> None:
        """Copies twice (`tobytes`, packing) before ZeroMQ copies again."""
        begun_ns = perf_counter_ns()
        size_bytes = self._checked_size(message.tensors)
        tensors = [
            {"dtype": name_of(tensor.dtype), "shape": tensor.shape, "data": tensor.tobytes()}
            for tensor in message.tensors
        ]
        copied_ns = perf_counter_ns()
        wire.body_bytes(message)  # the limits are those of all channels
        packed: bytes = msgpack.packb(
            {
                "method": message.method,
                "attributes": dict(message.attributes),
                "tensors": tensors,
                "request_id": message.request_id,
                "sent": (begun_ns, copied_ns),
                "request_stamps": message.request_stamps,
            },
            use_bin_type=True,
        )
        stamp = _STAMP.pack(perf_counter_ns())
        self._link.send([packed + stamp] if len(packed) < _SMALL else [packed, stamp], timeout_s, copy=True)
        self._sent_bytes += size_bytes

    def recv(self, timeout_s: float = 10.0) -> Message:
        """The next message; its tensors are views of the bytes that msgpack cut out of the map."""
        frames = self._link.recv(timeout_s)
        arrived_ns = perf_counter_ns()
        data, stamp = _split_stamp(frames)
        try:
            raw = msgpack.unpackb(
                data,
                raw=False,
                strict_map_key=True,
                max_bin_len=self._capacity_bytes,
                max_str_len=wire.MAX_BODY_BYTES,
                max_array_len=wire.MAX_TENSORS,
                max_map_len=wire.MAX_ATTRIBUTES,
                max_ext_len=0,
            )
        except Exception as error:
            raise MalformedMessage("naive message", f"not msgpack: {error!r:.200}") from error
        head, body, payloads = _naive_head(raw, stamp)
        tensors = tuple([_view(spec, payload) for spec, payload in zip(body.specs, payloads, strict=True)])
        self._received_bytes += sum([spec.size_bytes for spec in body.specs])
        return wire.message_of(head, body, tensors, arrived_ns)


def _split_stamp(frames: list[zmq.Frame]) -> tuple[memoryview, int]:
    """The map and the time it was packed at."""
    data = frames[0].buffer
    if len(frames) == 1 and len(data) > _STAMP.size:
        return data[: -_STAMP.size], _STAMP.unpack_from(data, len(data) - _STAMP.size)[0]
    if len(frames) == 2 and len(frames[1].buffer) == _STAMP.size:
        return data, _STAMP.unpack(frames[1].buffer)[0]
    raise MalformedMessage("naive message", f"{len(frames)} frames, the first of {len(data)} bytes")


def _naive_head(raw: Any, packed_ns: int) -> tuple[wire.Head, wire.Body, list[bytes]]:
    try:
        tensors = raw["tensors"]
        payloads = [tensor["data"] for tensor in tensors]
        specs = [[tensor["dtype"], tensor["shape"]] for tensor in tensors]
        request_id, stamps, (begun_ns, copied_ns) = raw["request_id"], raw["request_stamps"], raw["sent"]
        method, attributes = raw["method"], raw["attributes"]
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessage("naive message", f"a part is missing or wrong: {error!r:.200}") from error
    numbers = [request_id, begun_ns, copied_ns, *(stamps or ())] if isinstance(stamps, list | None) else [None]
    if not all(type(number) is int for number in numbers) or len(numbers) not in {3, 8}:
        raise MalformedMessage("naive message", "ids and stamps are no integers")
    if not all(isinstance(payload, bytes) for payload in payloads):
        raise MalformedMessage("naive message", "a tensor's data are no bytes")
    body = wire.validate_body([method, attributes, specs, ""])
    head = (0, 0, len(specs), request_id, begun_ns, copied_ns, packed_ns, *(stamps or wire.NO_STAMPS))
    return head, body, payloads


def _view(spec: wire.Spec, data: bytes | memoryview) -> Tensor:
    """A read-only tensor on received bytes. Raises `MalformedMessage` if they are not as many as described."""
    if len(data) != spec.size_bytes:
        raise MalformedMessage("tensor", f"{len(data)} bytes for shape {spec.shape} of {spec.dtype}")
    tensor: Tensor = np.ndarray(spec.shape, spec.dtype, data)
    tensor.flags.writeable = False
    return tensor


class ZmqListener:
    """The server's side before its peer is there."""

    def __init__(self, kind: str, capacity_bytes: int) -> None:
        self._kind = kind
        self._capacity_bytes = capacity_bytes
        self._link: Link | None = Link(capacity_bytes, listening=True)
        self._link.bind("tcp" if kind.endswith("tcp") else "ipc")
        self.endpoint = self._link.endpoint

    def accept(self, timeout_s: float) -> MultipartChannel | NaiveChannel:
        """The channel to the first peer. Raises `ChannelUnavailable`."""
        if self._link is None:
            raise ChannelUnavailable(self.endpoint, "has its peer already", "listen again")
        self._link.await_peer(timeout_s)
        link, self._link = self._link, None
        return channel_of(self._kind, link, self._capacity_bytes)

    def close(self) -> None:
        """Stop listening; idempotent, leaves an accepted channel alone."""
        if self._link is not None:
            self._link.close()
            self._link = None


def channel_of(kind: str, link: Link, capacity_bytes: int) -> MultipartChannel | NaiveChannel:
    """The channel of a ZeroMQ kind on a connected link."""
    return (NaiveChannel if kind.startswith("naive") else MultipartChannel)(kind, link, capacity_bytes)


def connect_zmq(kind: str, endpoint: str, capacity_bytes: int, timeout_s: float) -> MultipartChannel | NaiveChannel:
    """The client's end. Raises `ChannelUnavailable`."""
    link = Link(capacity_bytes, listening=False)
    try:
        link.connect(endpoint, timeout_s)
    except BaseException:
        link.close()
        raise
    return channel_of(kind, link, capacity_bytes)
