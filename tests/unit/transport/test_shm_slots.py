"""Slots and leases of a region, and the region's own walls."""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfguard_suites.transport import shm_region
from perfguard_suites.transport.errors import CapacityExceeded, MalformedMessage
from perfguard_suites.transport.shm_region import HUGE_BYTES, Region
from perfguard_suites.transport.shm_slots import Leases, Slot, SlotTable

pytestmark = pytest.mark.skipif(not shm_region.available(), reason="needs memfd and seals")


@pytest.fixture(scope="module")
def regions() -> Iterator[tuple[Region, Region, Region, Region]]:
    """(own, own as the peer sees it, peer's, peer's as we see it)."""
    pairs = []
    for _ in range(2):
        region, descriptor = shm_region.create(HUGE_BYTES)
        pairs += [region, shm_region.attach(descriptor, HUGE_BYTES)]
        os.close(descriptor)
    return pairs[0], pairs[1], pairs[2], pairs[3]


def ends(regions: tuple[Region, Region, Region, Region]) -> tuple[SlotTable, Leases]:
    own, own_seen, peers, peers_seen = regions
    for region in (own, peers):
        region.words[shm_region.RELEASED : shm_region.RELEASED + shm_region.SLOTS] = memoryview(
            bytes(8 * shm_region.SLOTS)
        ).cast("Q")
    return SlotTable(own, peers_seen), Leases(peers, own_seen, lambda: None)


def lend(slots: SlotTable, leases: Leases, slot: Slot) -> np.ndarray:
    slots.note_sent(slot)
    size = slot.end - slot.start
    return leases.view(slot.index, slot.start, (size,), np.dtype(np.uint8), size)


def test_a_slot_is_free_when_the_last_view_of_it_dies(regions: tuple[Region, ...]) -> None:
    """Sub-views keep the lease; the slot returns with the last of them, and is the next to be used."""
    slots, leases = ends(regions)  # type: ignore[arg-type]
    slot = slots.allocate(5000)
    assert slot is not None
    view = lend(slots, leases, slot)
    part = view[10:20].reshape(2, 5)
    del view
    gc.collect()
    slots.sweep()
    assert slots.lent_bytes == 8192
    assert slots.peer_holds_any
    del part
    again = slots.allocate(100)
    assert again is not None
    assert again.start == slot.start
    assert slots.lent_bytes == 4096


def test_the_most_recently_freed_slot_comes_first(regions: tuple[Region, ...]) -> None:
    """Of two free stretches, the one still in the cache is used."""
    slots, leases = ends(regions)  # type: ignore[arg-type]
    first, second = slots.allocate(4096), slots.allocate(4096)
    assert first is not None
    assert second is not None
    views = [lend(slots, leases, first), lend(slots, leases, second)]
    del views[0]
    slots.sweep()
    views.clear()
    again = slots.allocate(4096)
    assert again is not None
    assert again.start == second.start


def test_a_slot_sent_twice_needs_two_returns(regions: tuple[Region, ...]) -> None:
    """The peer's two leases of one loan are two."""
    slots, leases = ends(regions)  # type: ignore[arg-type]
    slot = slots.allocate(4096)
    assert slot is not None
    views = [lend(slots, leases, slot), lend(slots, leases, slot)]
    views.pop()
    slots.sweep()
    assert slots.lent_bytes == 4096
    views.pop()
    slots.sweep()
    assert slots.lent_bytes == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(1, 900_000), st.integers(0, 9)), max_size=40))
def test_live_slots_never_overlap(regions: tuple[Region, ...], steps: list[tuple[int, int]]) -> None:
    """Whatever is lent and returned in whatever order, live slots are disjoint, inside, and all come back."""
    slots, leases = ends(regions)  # type: ignore[arg-type]
    held: list[tuple[Slot, np.ndarray]] = []
    for size, drop in steps:
        slot = slots.allocate(size)
        if slot is not None:
            assert 0 <= slot.start < slot.end <= HUGE_BYTES
            assert slot.end - slot.start >= size
            assert all(slot.end <= other.start or other.end <= slot.start for other, _ in held)
            held.append((slot, lend(slots, leases, slot)))
        if drop < len(held):
            del held[drop]
    del held
    slot = None
    slots.sweep()
    assert slots.lent_bytes == 0
    assert slots.allocate(HUGE_BYTES) is not None


@pytest.mark.parametrize(
    ("index", "offset", "size"),
    [(0, HUGE_BYTES, 1), (0, 2**63, 8), (shm_region.SLOTS, 0, 8), (0, HUGE_BYTES - 7, 8), (65535, 2**64 - 1, 1)],
)
def test_views_outside_the_region_are_refused(regions: tuple[Region, ...], index: int, offset: int, size: int) -> None:
    """No offset or slot that the peer names leads out of its region."""
    _, leases = ends(regions)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage):
        leases.view(index, offset, (size,), np.dtype(np.uint8), size)


def test_only_lent_memory_can_be_handed_back(regions: tuple[Region, ...]) -> None:
    """A peer that passes back what it was never lent is refused."""
    slots, _ = ends(regions)  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage):
        slots.returned(0, (8,), np.dtype(np.uint8), 8)


def test_the_peer_cannot_write_or_shrink(regions: tuple[Region, ...]) -> None:
    """A region's descriptor gives the peer a read-only mapping and nothing else."""
    region, descriptor = shm_region.create(HUGE_BYTES)
    try:
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, shm_region.PAYLOAD_AT + HUGE_BYTES)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        assert shm_region.attach(descriptor, region.capacity_bytes).memory.readonly
    finally:
        os.close(descriptor)


def test_unsealed_or_lying_descriptors_are_refused() -> None:
    """A region that could be shrunk under its reader (SIGBUS), or is smaller than said, is not mapped."""
    descriptor = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, shm_region.PAYLOAD_AT + HUGE_BYTES)
        with pytest.raises(MalformedMessage, match="sealed"):
            shm_region.attach(descriptor, HUGE_BYTES)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        for lie in (2 * HUGE_BYTES, 0, -1, 2**60):
            with pytest.raises(MalformedMessage):
                shm_region.attach(descriptor, lie)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("capacity", [0, -5, 2**41, 2**40])
def test_impossible_capacities_are_refused(capacity: int) -> None:
    """A capacity that cannot be had is an error before the first message, not a SIGBUS after it."""
    with pytest.raises(CapacityExceeded, match="capacity_bytes"):
        shm_region.create(capacity)
