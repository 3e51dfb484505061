"""Channels whose tensors lie in shared memory: metadata by a ring and a doorbell (`shm`), or by ZeroMQ (`shm-zmq`)."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import NoReturn

import numpy.typing as npt

from perfguard_suites.transport.channel import Message, Tensor
from perfguard_suites.transport.errors import ChannelTimeout, MalformedMessage, PeerDied
from perfguard_suites.transport.shm_doorbell import Doorbell
from perfguard_suites.transport.shm_region import (
    CONSUMED,
    RECORD_BYTES,
    RECORDS,
    RING_AT,
    SENT,
    TOTAL_STORE_ORDER,
    Region,
)
from perfguard_suites.transport.shm_tensors import SharedTensors
from perfguard_suites.transport.zmq_link import Link


class _SharedChannel:
    """What both ways of carrying metadata share."""

    def __init__(self, kind: str, endpoint: str, doorbell: Doorbell, own: Region, peer: Region) -> None:
        self._kind = kind
        self._endpoint = endpoint
        self._doorbell = doorbell
        self._own = own
        self._peer = peer
        self._tensors = SharedTensors(own, peer, doorbell)

    @property
    def kind(self) -> str:
        """The kind this channel was opened as."""
        return self._kind

    @property
    def endpoint(self) -> str:
        """The abstract name of the socket that the regions came through, as the kernel tells it."""
        return self._endpoint

    @property
    def regions(self) -> tuple[memoryview, memoryview]:
        """All of this end's region, and all of the peer's, which is mapped read-only: for whoever must lock them."""
        return self._own.memory, self._peer.memory

    def loan(self, shape: Sequence[int], dtype: npt.DTypeLike) -> Tensor:
        """A writable tensor in this end's region. Raises `CapacityExceeded`."""
        return self._tensors.loan(shape, dtype)

    def hand_back(self, tensor: Tensor) -> Tensor:
        """Mark a received tensor (this very object) to travel back as it lies; do not use it after the send."""
        return self._tensors.hand_back(tensor)

    def spin_for(self, spin_us: float) -> None:
        """Let `recv` keep a CPU busy for so long before it sleeps, from now on; `shm-zmq` only sleeps."""
        self._doorbell.spin_for(spin_us)

    def payload_bytes(self) -> tuple[int, int]:
        """Tensor payload bytes (sent, received) so far."""
        return self._tensors.sent_bytes, self._tensors.received_bytes

    def close(self) -> None:
        """End the connection. Tensors received stay readable: the memory goes with the last of them."""
        self._doorbell.close()


class ShmChannel(_SharedChannel):
    """Metadata in a ring of records inside the region, announced by a count and, if need be, a wake-up byte."""

    def __init__(self, kind: str, endpoint: str, doorbell: Doorbell, own: Region, peer: Region) -> None:
        super().__init__(kind, endpoint, doorbell, own, peer)
        self._sent = 0
        self._consumed = 0
        self._broken = False

    def send(self, message: Message, timeout_s: float = 10.0) -> None:
        """Tensors may be reused at once, except loans: those now belong to the peer."""
        tensors = self._tensors
        if tensors.kept:
            tensors.tidy()
        own = self._own
        sent = self._sent
        record = tensors.pack(message, timeout_s)
        if sent - self._peer.words[CONSUMED] >= RECORDS:
            self._await_record(timeout_s)
        at = RING_AT + sent % RECORDS * RECORD_BYTES
        own.words[at // 8] = len(record)
        own.memory[at + 8 : at + 8 + len(record)] = record
        if not TOTAL_STORE_ORDER:
            self._doorbell.fence()
        self._sent = own.words[SENT] = sent + 1
        self._doorbell.wake_reader()
        tensors.published(message)  # bookkeeping, while the peer is at work already

    def _await_record(self, timeout_s: float) -> None:
        def ready() -> bool:
            return bool(self._sent - self._peer.words[CONSUMED] < RECORDS)

        if not self._doorbell.await_space(ready, timeout_s):
            raise ChannelTimeout(
                self._endpoint, f"{RECORDS} messages unread for {timeout_s} s", "is the peer stopped or overloaded?"
            )

    def recv(self, timeout_s: float = 10.0) -> Message:
        """The next message; its tensors are views of the peer's region that hold their slots."""
        tensors = self._tensors
        consumed = self._consumed
        if tensors.kept:
            tensors.tidy()
        peer = self._peer
        words = peer.words
        if words[SENT] == consumed:
            self._doorbell.await_message(consumed, timeout_s, tensors.tidy)
        arrived_ns = perf_counter_ns()
        if words[SENT] - consumed > RECORDS:
            self._distrust(words[SENT])
        if not TOTAL_STORE_ORDER:
            self._doorbell.fence()
        at = RING_AT + consumed % RECORDS * RECORD_BYTES
        size_bytes = words[at // 8]
        try:
            if size_bytes > RECORD_BYTES - 8:
                raise MalformedMessage("ring", f"a record of {size_bytes} bytes, the limit is {RECORD_BYTES - 8}")
            # Copied out before anything in it is believed: the peer could change it between look and use.
            return tensors.parse(bytes(peer.memory[at + 8 : at + 8 + size_bytes]), arrived_ns)
        finally:
            self._consumed = consumed + 1
            tensors.consumed()

    def _distrust(self, sent: int) -> NoReturn:
        """A count that cannot be: no later message can be trusted either, so this end hangs up."""
        if self._broken:
            raise PeerDied(self._endpoint, "hung up on a peer with impossible counts", "start the server again")
        self._broken = True
        self._doorbell.close()
        raise MalformedMessage(
            "ring",
            f"{sent} messages sent, but {self._consumed} were read and {RECORDS} fit",
            "the connection is closed: start the server again",
        )


class ShmZmqChannel(_SharedChannel):
    """The same regions with metadata over ZeroMQ ipc: what the ring and the doorbell are compared with."""

    def __init__(self, kind: str, endpoint: str, doorbell: Doorbell, own: Region, peer: Region, link: Link) -> None:
        super().__init__(kind, endpoint, doorbell, own, peer)
        self._link = link

    def send(self, message: Message, timeout_s: float = 10.0) -> None:
        """Tensors may be reused at once, except loans: those now belong to the peer."""
        self._tensors.tidy()
        self._link.send([self._tensors.pack(message, timeout_s)], timeout_s, copy=True)
        self._tensors.published(message)

    def recv(self, timeout_s: float = 10.0) -> Message:
        """The next message; its tensors are views of the peer's region that hold their slots."""
        self._tensors.tidy()
        frames = self._link.recv(timeout_s)
        arrived_ns = perf_counter_ns()
        try:
            if len(frames) != 1 or len(frames[0].buffer) > RECORD_BYTES:
                raise MalformedMessage("record", f"{len(frames)} frames, the first of {len(frames[0].buffer)} bytes")
            return self._tensors.parse(frames[0].bytes, arrived_ns)
        finally:
            self._tensors.consumed()

    def close(self) -> None:
        """End both connections."""
        self._link.close()
        super().close()
