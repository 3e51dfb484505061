"""A region of shared memory in one direction: written by its owner alone, mapped read-only by the peer.

It is an anonymous memfd, never a name in /dev/shm: when both processes are gone, however they went, so is
the memory. It is sealed against shrinking (no SIGBUS for who maps it) and against writable mappings (a peer
can neither write into it nor make its owner crash), and every page is faulted in before the first message.

Layout, in bytes:

    0        control words, one cache line each: messages sent, messages consumed, two waiting flags
    4096     released: one 64-bit count for each slot of the *peer's* region
    8192     ring of message records
    2 MiB    tensors

All that the peer must know of this end's progress lies in this end's own region: no word has two writers.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import platform
from dataclasses import dataclass

import numpy as np
import psutil

from perfguard_suites.transport.errors import CapacityExceeded, ChannelUnavailable, MalformedMessage

PAGE_BYTES = 4096
SENT, CONSUMED, AWAITS_MESSAGE, AWAITS_SPACE = 0, 8, 16, 24
RELEASED = PAGE_BYTES // 8
SLOTS = PAGE_BYTES // 8
RING_AT = 2 * PAGE_BYTES
RECORDS = 32
RECORD_BYTES = 4 * PAGE_BYTES
HUGE_BYTES = 2 * 1024 * 1024
PAYLOAD_AT = HUGE_BYTES
MAX_CAPACITY_BYTES = 1 << 40

TOTAL_STORE_ORDER = platform.machine() in {"x86_64", "AMD64"}  # what follows from it: shm_doorbell

_F_SEAL_FUTURE_WRITE = 0x0010
_MADV_POPULATE_READ = 22
_MADV_POPULATE_WRITE = 23
_MADV_COLLAPSE = 25
_MAP_FIXED = 0x10


@dataclass(frozen=True, slots=True)
class Region:
    """A mapped region: its bytes, and all before the payload as 64-bit words.

    The mapping is never closed by hand: it goes when the last view into it has gone, so that no tensor
    is ever left pointing at nothing.
    """

    memory: memoryview
    words: memoryview
    capacity_bytes: int


def available() -> bool:
    """Whether this platform has what regions are made of."""
    return hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")


def create(capacity_bytes: int) -> tuple[Region, int]:
    """A fresh warmed region, and its descriptor for the peer (the caller closes it).

    Raises `CapacityExceeded` when the memory cannot be had, `ChannelUnavailable` off Linux.
    """
    if not available():
        raise ChannelUnavailable("shared memory", "needs memfd_create and seals (Linux)", "use multipart-ipc")
    if not 0 < capacity_bytes <= MAX_CAPACITY_BYTES:
        raise CapacityExceeded("capacity_bytes", f"{capacity_bytes} is not in 1..{MAX_CAPACITY_BYTES}")
    available_bytes = psutil.virtual_memory().available  # faulting in more would call the OOM killer, not fail
    if capacity_bytes > available_bytes:
        raise CapacityExceeded(
            "capacity_bytes",
            f"{capacity_bytes} bytes wanted, {available_bytes} are available",
            "set a smaller capacity_bytes",
        )
    capacity_bytes = -(-capacity_bytes // HUGE_BYTES) * HUGE_BYTES
    descriptor = os.memfd_create("perfguard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        size_bytes = PAYLOAD_AT + capacity_bytes
        os.ftruncate(descriptor, size_bytes)
        mapping, at = _map(descriptor, size_bytes, mmap.PROT_READ | mmap.PROT_WRITE)
        # Huge pages where the kernel has them to give: a copy into 4 KiB pages is some 10 % slower. It collapses
        # only what has a page already, so that each huge page's first is touched.
        np.frombuffer(mapping, np.uint8)[at : at + size_bytes : HUGE_BYTES] = 0
        with contextlib.suppress(OSError):
            mapping.madvise(_MADV_COLLAPSE, at, size_bytes)
        _prefault(mapping, at, size_bytes, _MADV_POPULATE_WRITE)
        # Takes what is still missing: an error here is one that can be answered, a SIGBUS later is not.
        os.posix_fallocate(descriptor, 0, size_bytes)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError as error:
        os.close(descriptor)
        raise CapacityExceeded(
            "capacity_bytes", f"no shared memory of {capacity_bytes} bytes: {error}", "set a smaller capacity_bytes"
        ) from error
    return _region(mapping, at, capacity_bytes), descriptor


def attach(descriptor: int, capacity_bytes: int) -> Region:
    """The peer's region, read-only. Raises `MalformedMessage` if it is not what the peer says or is not sealed."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        size_bytes = os.fstat(descriptor).st_size
    except OSError as error:
        raise MalformedMessage("handshake", f"the descriptor is no memfd: {error}") from error
    if not seals & fcntl.F_SEAL_SHRINK:
        raise MalformedMessage("handshake", "the peer's region is not sealed against shrinking")
    if not 0 < capacity_bytes <= MAX_CAPACITY_BYTES or size_bytes != PAYLOAD_AT + capacity_bytes:
        raise MalformedMessage("handshake", f"a region of {size_bytes} bytes for a capacity of {capacity_bytes}")
    try:
        mapping, at = _map(descriptor, size_bytes, mmap.PROT_READ)
    except OSError as error:
        raise MalformedMessage("handshake", f"the peer's region cannot be mapped: {error}") from error
    _prefault(mapping, at, size_bytes, _MADV_POPULATE_READ)
    return _region(mapping, at, capacity_bytes)


def _map(descriptor: int, size_bytes: int, protection: int) -> tuple[mmap.mmap, int]:
    """A shared mapping that begins at a huge page's border, and where in the returned object that is.

    Python's mmap cannot choose an address: it reserves the range, and holds it for as long as anyone holds a
    view; the real mapping is laid over the aligned part of it.
    """
    reserved = mmap.mmap(-1, size_bytes + HUGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=protection)
    address = np.frombuffer(reserved, np.uint8).__array_interface__["data"][0]
    at = -address % HUGE_BYTES
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    got = libc.mmap(address + at, size_bytes, protection, mmap.MAP_SHARED | _MAP_FIXED, descriptor, 0)
    if got != address + at:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return reserved, at


def _region(mapping: mmap.mmap, at: int, capacity_bytes: int) -> Region:
    memory = memoryview(mapping)[at : at + PAYLOAD_AT + capacity_bytes]
    return Region(memory, memory[:PAYLOAD_AT].cast("Q"), capacity_bytes)


def _prefault(mapping: mmap.mmap, at: int, size_bytes: int, advice: int) -> None:
    # Kernels before 5.14 do not know the advice: there the first message pays for the page faults.
    with contextlib.suppress(OSError):
        mapping.madvise(advice, at, size_bytes)
