"""Who holds which part of a region: the owner's slots, and the reader's leases.

A slot is a stretch of the owner's region. It is free again when the owner holds no view of it and the peer
has given back as many leases as it was sent. Only the owner allocates, so that there is no shared
allocator to corrupt; the peer's whole say is one count per slot that it alone writes.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

import numpy as np

from perfguard_suites.transport.channel import Tensor
from perfguard_suites.transport.dtypes import Dtype
from perfguard_suites.transport.errors import MalformedMessage
from perfguard_suites.transport.shm_region import PAYLOAD_AT, RELEASED, SLOTS, TOTAL_STORE_ORDER, Region

ALIGN_BYTES: Final = 4096
_RECENT = 16
_CACHED_BYTES = 32 * 1024 * 1024  # beyond, no cache remembers a slot: place it where it breaks up least


class _Lease(weakref.ref[Any]):
    """A view's end of life, and the slot that it holds."""

    __slots__ = ("index", "offset", "root")
    index: int
    offset: int
    root: int


class Slot:
    """One allocated stretch: payload bytes `start` to `end`, and the owner's own views of it."""

    __slots__ = ("end", "holds", "index", "start")

    def __init__(self, index: int, start: int, end: int) -> None:
        self.index = index
        self.start = start
        self.end = end
        self.holds = 0


class SlotTable:
    """The owner's side: allocation, with the most recently freed stretch first (it is still in the cache)."""

    def __init__(self, own: Region, peer: Region) -> None:
        self._memory = own.memory
        self._capacity_bytes = own.capacity_bytes
        self._released = peer.words[RELEASED : RELEASED + SLOTS]
        self._sent = [0] * SLOTS
        self._live: list[Slot] = []  # by start
        self._by_index: dict[int, Slot] = {}
        self._unused = list(range(SLOTS - 1, -1, -1))
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._roots: dict[int, _Lease] = {}  # by the id of the tensor they watch
        # Views die wherever the garbage collector finds them: the callback only takes note.
        self._died: deque[int] = deque()
        self._base_address = np.frombuffer(own.memory, np.uint8).__array_interface__["data"][0]

    def allocate(self, size_bytes: int) -> Slot | None:
        """A slot of at least that many bytes, or None while too much is lent out."""
        self.sweep()
        size_bytes = max(ALIGN_BYTES, -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES)
        start = self._place(size_bytes)
        if start is None or not self._unused:
            return None
        slot = Slot(self._unused.pop(), start, start + size_bytes)
        self._by_index[slot.index] = slot
        live = self._live
        live.append(slot)
        if len(live) > 1 and live[-2].start > start:
            live.sort(key=attrgetter("start"))
        return slot

    def sweep(self) -> None:
        """Take back the slots that nobody holds any more."""
        died = self._died
        while died:
            self._by_index[died.popleft()].holds -= 1
        released, sent = self._released, self._sent
        for slot in self._live[:]:
            if not slot.holds and released[slot.index] == sent[slot.index]:
                self._live.remove(slot)
                self._unused.append(slot.index)
                self._recent.append(slot.start)

    def _place(self, size_bytes: int) -> int | None:
        if size_bytes <= _CACHED_BYTES:
            for start in reversed(self._recent):
                end = start + size_bytes
                if end <= self._capacity_bytes and self._is_gap(start, end):
                    return start
        return self._first_fit(size_bytes)

    def _is_gap(self, start: int, end: int) -> bool:
        return all(not (slot.start < end and start < slot.end) for slot in self._live)

    def _first_fit(self, size_bytes: int) -> int | None:
        at = 0
        for slot in self._live:
            if slot.start - at >= size_bytes:
                return at
            at = slot.end
        return at if self._capacity_bytes - at >= size_bytes else None

    @property
    def lent_bytes(self) -> int:
        """Bytes that are not free, for the error that says so."""
        return sum(slot.end - slot.start for slot in self._live)

    def note_sent(self, slot: Slot) -> None:
        """The peer is about to be handed a lease of this slot."""
        self._sent[slot.index] += 1

    def view(self, slot: Slot, shape: tuple[int, ...], dtype: Dtype, offset: int = 0) -> Tensor:
        """A writable tensor on the slot, held until it and all views of it are gone."""
        tensor: Tensor = np.ndarray(shape, dtype, self._memory, PAYLOAD_AT + slot.start + offset)
        lease = _Lease(tensor, self._view_died)
        lease.index, lease.offset, lease.root = slot.index, slot.start + offset, id(tensor)
        self._roots[lease.root] = lease
        slot.holds += 1
        return tensor

    def _view_died(self, lease: Any) -> None:
        self._roots.pop(lease.root, None)
        self._died.append(lease.index)

    def find(self, tensor: Tensor) -> tuple[Slot, int] | None:
        """The slot that wholly holds a C-contiguous tensor, and the tensor's offset in the payload.

        numpy lets every view refer to the root that it was made from; only what came through another library
        (torch) has to be looked up by address, which costs a microsecond.
        """
        lease = self._roots.get(id(tensor))
        if lease is not None:
            return self._by_index[lease.index], lease.offset
        base = tensor.base
        if base is None or (type(base) is np.ndarray and id(base) not in self._roots):
            return None
        offset = tensor.__array_interface__["data"][0] - self._base_address - PAYLOAD_AT
        if not 0 <= offset < self._capacity_bytes or not tensor.flags.c_contiguous:
            return None
        for slot in self._live:
            if slot.start <= offset and offset + tensor.nbytes <= slot.end:
                return slot, offset
        return None

    def returned(self, offset: int, shape: tuple[int, ...], dtype: Dtype, size_bytes: int) -> Tensor:
        """The read-only tensor that the peer passes back. Raises `MalformedMessage` unless a live slot holds it."""
        for slot in self._live:
            if slot.start <= offset and offset + size_bytes <= slot.end:
                tensor = self.view(slot, shape, dtype, offset - slot.start)
                tensor.flags.writeable = False
                return tensor
        raise MalformedMessage("tensor", f"{size_bytes} bytes at {offset} were never lent")

    @property
    def peer_holds_any(self) -> bool:
        """Whether waiting can help: the peer has leases to give back."""
        return any(self._released[slot.index] != self._sent[slot.index] for slot in self._live)


class Leases:
    """The reader's side: views of the peer's region, each giving its slot back when the last of it dies."""

    def __init__(self, own: Region, peer: Region, wake: Callable[[], None]) -> None:
        self._memory = peer.memory
        self._capacity_bytes = peer.capacity_bytes
        self._released = own.words[RELEASED : RELEASED + SLOTS]
        self._counts = [0] * SLOTS
        self._wake = wake
        self._leases: dict[int, _Lease] = {}
        self._died: deque[int] = deque()
        self._lock = threading.Lock()

    def view(self, index: int, offset: int, shape: tuple[int, ...], dtype: Dtype, size_bytes: int) -> Tensor:
        """A read-only tensor in the peer's region. Raises `MalformedMessage` if it would lie outside."""
        if index >= SLOTS or offset + size_bytes > self._capacity_bytes:
            raise MalformedMessage(
                "tensor",
                f"{size_bytes} bytes at {offset} in slot {index} of a region of"
                f" {self._capacity_bytes} with {SLOTS} slots",
            )
        tensor: Tensor = np.ndarray(shape, dtype, self._memory, PAYLOAD_AT + offset)
        lease = _Lease(tensor, self._view_died)
        lease.index, lease.offset, lease.root = index, offset, id(tensor)
        self._leases[lease.root] = lease
        return tensor

    def offset_of(self, tensor: Tensor) -> int | None:
        """Where in the peer's payload a tensor as it was received lies, or None for any other."""
        lease = self._leases.get(id(tensor))
        return None if lease is None else lease.offset

    def _view_died(self, lease: Any) -> None:
        self._leases.pop(lease.root, None)
        self._died.append(lease.index)
        if not TOTAL_STORE_ORDER:  # the view was read before its release is seen: see shm_doorbell
            order = threading.Lock()
            order.acquire()
            order.release()
        # Any thread may be here, and the collector may have interrupted this very method: whoever has the
        # lock does the work of all, and looks again after giving it up.
        while self._died and self._lock.acquire(blocking=False):
            try:
                while self._died:
                    index = self._died.popleft()
                    self._counts[index] += 1
                    self._released[index] = self._counts[index]
            finally:
                self._lock.release()
            self._wake()
