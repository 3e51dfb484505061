"""What a channel is: one end of a two-process connection that carries messages of tensors.

All transports (ZeroMQ ipc and tcp, naive or multipart; shared memory) implement `Channel`; the suites and the
diagnosis know nothing else. Stamps are `time.perf_counter_ns` on one host: CLOCK_MONOTONIC is one clock
for all its processes, so that the stamps of both sides order and subtract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy.typing as npt

Tensor: TypeAlias = npt.NDArray[Any]
Scalar: TypeAlias = "bool | int | float | str | None"

NO_ATTRIBUTES: Mapping[str, Scalar] = MappingProxyType({})


class Stamps(NamedTuple):
    """When one message passed each station, in ns, in this causal order.

    begun -> copied: payload bytes copied (naive: `tobytes`; shared memory: into the region; multipart: nothing);
    copied -> packed: metadata (naive: the whole map) serialised, handed to the transport next;
    packed -> arrived: on the wire, and the receiver woken;
    arrived -> unpacked: parsed, tensors ready to read.
    """

    begun_ns: int
    copied_ns: int
    packed_ns: int
    arrived_ns: int
    unpacked_ns: int


class Message(NamedTuple):
    """One request or reply: what to do, with which tensors.

    `stamps` are filled by the receiving end. A reply carries in `request_stamps` the stamps of the request it
    answers, as the server saw them. A named tuple, as an empty round trip makes four of them.
    """

    method: str
    tensors: tuple[Tensor, ...] = ()
    attributes: Mapping[str, Scalar] = NO_ATTRIBUTES
    request_id: int = 0
    stamps: Stamps | None = None
    request_stamps: Stamps | None = None


class Channel(Protocol):
    """One end of a connection. Not thread-safe: one thread uses an end at a time.

    Every wait has a timeout. Errors are `perfguard_suites.transport.errors.ChannelError`s:
    `PeerDied`, `ChannelTimeout`, `CapacityExceeded` (says what to set), `MalformedMessage`.
    """

    @property
    def kind(self) -> str:
        """`naive-ipc`, `naive-tcp`, `multipart-ipc`, `multipart-tcp`, `shm`, or `shm-zmq`."""

    @property
    def endpoint(self) -> str:
        """The endpoint as connected, asked from the socket, not echoed from configuration."""

    def send(self, message: Message, timeout_s: float = 10.0) -> None:
        """Hand one message over.

        Tensors may be reused by the caller once this returns, unless they travel without a copy: multipart
        frames not before the peer has answered; loans and what is handed back belong to the peer from now on.
        """

    def recv(self, timeout_s: float = 10.0) -> Message:
        """The next message. Its tensors are read-only views that stay valid as long as they are referenced."""

    def loan(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Tensor:
        """A writable tensor in memory that `send` need not copy.

        Sending it hands it to the peer; dropping it unsent gives it back.
        """

    def hand_back(self, tensor: Tensor) -> Tensor:
        """Mark a received tensor so that the next `send` passes its memory itself instead of a copy.

        Where messages own their memory (ZeroMQ) there is nothing to hand back: the tensor as it is.
        """

    def spin_for(self, spin_us: float) -> None:
        """Let `recv` keep a CPU busy for so long before it sleeps, from now on; without effect where it only sleeps."""

    def payload_bytes(self) -> tuple[int, int]:
        """Tensor payload bytes (sent, received) so far: exact, no metadata."""

    def close(self) -> None:
        """Release everything this end holds; idempotent."""
