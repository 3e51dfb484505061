"""Messages whose tensors lie in shared regions: packing them (copy, or point) and parsing them (views).

A record is head, body, one placement per tensor, and the small tensors themselves. How the record travels,
by ring or by ZeroMQ, is the channel's affair.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

from perfguard_suites.transport import wire
from perfguard_suites.transport.channel import Message, Tensor
from perfguard_suites.transport.dtypes import plain, resolve
from perfguard_suites.transport.errors import CapacityExceeded, MalformedMessage
from perfguard_suites.transport.shm_doorbell import Doorbell
from perfguard_suites.transport.shm_region import CONSUMED, PAYLOAD_AT, Region
from perfguard_suites.transport.shm_slots import Leases, Slot, SlotTable

# Up to here a copy inside the record is cheaper than a slot and a lease (weak references, a release).
INLINE_BYTES = 8192  # all small tensors of a message together
# Up to here it is cheaper even than lending memory that is borrowed already.
INLINE_LOAN_BYTES = 1024
_ALIGN_BYTES = 64

_PLACEMENT = struct.Struct("<HHIQ")  # where, slot, reserved, offset
_unpack_placement = _PLACEMENT.unpack_from
_INLINE, _SENDERS, _RECEIVERS = 0, 1, 2
_INLINE_FIRST = _PLACEMENT.pack(_INLINE, 0, 0, 0)


class SharedTensors:
    """Both regions of a connection from one end's point of view."""

    def __init__(self, own: Region, peer: Region, doorbell: Doorbell) -> None:
        self._own = own
        self._peer = peer
        self._doorbell = doorbell
        self._slots = SlotTable(own, peer)
        self._leases = Leases(own, peer, doorbell.wake_writer)
        self._handing_back: dict[int, Tensor] = {}
        self._referred: list[Slot] = []
        self.kept: deque[tuple[int, list[Tensor]]] = deque()
        self._published = 0
        self._consumed = 0
        self.sent_bytes = 0
        self.received_bytes = 0

    # -- sending --

    def pack(self, message: Message, timeout_s: float) -> bytes:
        """The record. Raises `CapacityExceeded`, `UnsendableMessage`, `PeerDied`."""
        begun_ns = perf_counter_ns()
        tensors = message.tensors
        if not tensors:
            where = b""
        elif len(tensors) == 1 and tensors[0].nbytes <= INLINE_LOAN_BYTES:
            where = _INLINE_FIRST + tensors[0].tobytes()
        else:
            where = self._place(tensors, timeout_s)
        copied_ns = perf_counter_ns()
        body = wire.body_bytes(message)
        return wire.pack_head(message, body, begun_ns, copied_ns) + body + where

    def published(self, message: Message) -> None:
        """The record of that message is on its way: the peer holds what it refers to."""
        self._published += 1
        if not message.tensors:
            return
        if self._referred:
            for slot in self._referred:
                self._slots.note_sent(slot)
            self._referred.clear()
        if self._handing_back:
            # Our lease must outlive the peer's taking it back, or the slot could be free for a moment.
            self.kept.append((self._published, list(self._handing_back.values())))
            self._handing_back.clear()
        for tensor in message.tensors:
            self.sent_bytes += tensor.nbytes

    def tidy(self) -> None:
        """Let go of what the peer has taken back."""
        kept = self.kept
        if kept:
            consumed = self._peer.words[CONSUMED]
            while kept and kept[0][0] <= consumed:
                kept.popleft()

    def _place(self, tensors: tuple[Tensor, ...], timeout_s: float) -> bytes:
        """Where each tensor is, then the small ones themselves; large ones are copied into the region."""
        self._referred.clear()  # of a message that failed before it was published
        placements: list[bytes] = []
        inline: list[bytes] = []
        inline_bytes = 0
        copies: list[tuple[int, Tensor]] = []
        for tensor in tensors:
            size_bytes = tensor.nbytes
            if size_bytes > INLINE_LOAN_BYTES and id(tensor) in self._handing_back:
                placements.append(_PLACEMENT.pack(_RECEIVERS, 0, 0, self._leases.offset_of(tensor)))
            elif size_bytes > INLINE_LOAN_BYTES and (found := self._slots.find(tensor)):
                slot, offset = found
                self._referred.append(slot)
                placements.append(_PLACEMENT.pack(_SENDERS, slot.index, 0, offset))
            elif size_bytes + inline_bytes <= INLINE_BYTES:
                placements.append(_PLACEMENT.pack(_INLINE, 0, 0, inline_bytes))
                padding = -size_bytes % wire.ALIGN_BYTES
                inline += (tensor.tobytes(), bytes(padding))
                inline_bytes += size_bytes + padding
            else:
                copies.append((len(placements), tensor))
                placements.append(b"")
        if copies:
            self._copy(copies, placements, timeout_s)
        return b"".join((*placements, *inline))

    def _copy(self, copies: list[tuple[int, Tensor]], placements: list[bytes], timeout_s: float) -> None:
        """All copied tensors of a message share one slot."""
        slot = self._allocate(sum(_aligned(tensor.nbytes) for _, tensor in copies), timeout_s)
        offset = slot.start
        for position, tensor in copies:
            source = plain(tensor)
            target: Tensor = np.ndarray(source.shape, source.dtype, self._own.memory, PAYLOAD_AT + offset)
            np.copyto(target, source)
            placements[position] = _PLACEMENT.pack(_SENDERS, slot.index, 0, offset)
            self._referred.append(slot)
            offset += _aligned(tensor.nbytes)

    def _allocate(self, size_bytes: int, timeout_s: float) -> Slot:
        waiting_helps = self._slots.peer_holds_any  # asked first: meanwhile it may give back
        slot = self._slots.allocate(size_bytes)
        if slot is not None:
            return slot
        capacity = self._own.capacity_bytes
        if size_bytes > capacity:
            raise CapacityExceeded(
                "capacity_bytes",
                f"{size_bytes} bytes of tensors in a region of {capacity}",
                f"set capacity_bytes to at least {size_bytes}",
            )
        found: list[Slot] = []

        def ready() -> bool:
            self.tidy()
            slot = self._slots.allocate(size_bytes)
            if slot is not None:
                found.append(slot)
            return slot is not None

        if not waiting_helps or not self._doorbell.await_space(ready, timeout_s):
            lent = self._slots.lent_bytes
            raise CapacityExceeded(
                "capacity_bytes",
                f"{size_bytes} bytes wanted while {lent} of {capacity} are still in use",
                f"drop tensors no longer needed, or set capacity_bytes to at least {lent + size_bytes}",
            )
        return found[0]

    def loan(self, shape: Sequence[int], dtype: npt.DTypeLike, timeout_s: float = 10.0) -> Tensor:
        """A writable tensor in our region, held until its last view dies. Raises `CapacityExceeded`."""
        resolved = resolve(dtype)
        extents = tuple(int(extent) for extent in shape)
        size_bytes = resolved.itemsize
        for extent in extents:
            size_bytes *= extent
        return self._slots.view(self._allocate(size_bytes, timeout_s), extents, resolved)

    def hand_back(self, tensor: Tensor) -> Tensor:
        """Mark a received tensor to travel back as it lies, if it does lie in the peer's region."""
        if tensor.nbytes > INLINE_LOAN_BYTES and self._leases.offset_of(tensor) is not None:
            self._handing_back[id(tensor)] = tensor
        return tensor

    # -- receiving --

    def parse(self, data: bytes, arrived_ns: int) -> Message:
        """The message in a record, which the caller has copied out of shared memory. Raises `MalformedMessage`."""
        head, body, end = wire.parse_head(data)
        specs = body.specs
        if not specs:
            return wire.message_of(head, body, (), arrived_ns)
        inline_at = end + _PLACEMENT.size * len(specs)
        if inline_at > len(data):
            raise MalformedMessage("record", f"{len(data)} bytes, too short for {len(specs)} placements")
        tensors: tuple[Tensor, ...]
        if len(specs) == 1:
            tensors = (self._view(data, specs[0], end, inline_at),)
            self.received_bytes += specs[0].size_bytes
        else:
            tensors = tuple(
                [
                    self._view(data, spec, end + position * _PLACEMENT.size, inline_at)
                    for position, spec in enumerate(specs)
                ]
            )
            self.received_bytes += sum([spec.size_bytes for spec in specs])
        return wire.message_of(head, body, tensors, arrived_ns)

    def _view(self, data: bytes, spec: wire.Spec, placement_at: int, inline_at: int) -> Tensor:
        dtype, shape, size_bytes = spec
        where, index, _, offset = _unpack_placement(data, placement_at)
        if where == _INLINE:
            if inline_at + offset + size_bytes > len(data):
                raise MalformedMessage("tensor", f"{size_bytes} bytes at {offset} in a record of {len(data)}")
            return np.ndarray(shape, dtype, data, inline_at + offset)
        if where == _SENDERS:
            return self._leases.view(index, offset, shape, dtype, size_bytes)
        if where == _RECEIVERS:
            return self._slots.returned(offset, shape, dtype, size_bytes)
        raise MalformedMessage("tensor", f"placement {where} is none")

    def consumed(self) -> None:
        """One more message taken: the views of it exist, its record may be overwritten."""
        self._consumed += 1
        self._own.words[CONSUMED] = self._consumed
        self._doorbell.fence()
        self._doorbell.wake_writer()


def _aligned(size_bytes: int) -> int:
    return size_bytes + -size_bytes % _ALIGN_BYTES
