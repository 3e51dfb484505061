"""Whether a figure can be believed: who else had the CPUs, and where the bytes really came from.

Linux: `/proc/self/task/*/schedstat` (nanoseconds waited on a run queue), `/proc/self/io` (`read_bytes`: fetched from a
disk), `mincore` (pages that lie in the page cache). A page that is mapped or dirty stays where it is, whatever
POSIX_FADV_DONTNEED asks: so what was asked is never taken for what happened.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Literal

import numpy as np

from perfguard.noise import NoiseMeter

Source = Literal["page cache", "disk"]
MOST_QUEUED = 0.02
MOST_TAKEN = 0.02
DISK_TOLERANCE = 0.03  # readahead crosses the edges of what is asked for
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Validity:
    """Shares of the wall: `queued` by the worst of our threads, `others` and `steal` of all CPUs; bytes of disk."""

    wall_s: float
    queued: float
    others: float
    steal: float
    disk_bytes: int
    expected_bytes: int

    @property
    def noisy_because(self) -> tuple[str, ...]:
        """Why this figure says more of the machine than of the code; empty where it can be believed."""
        reasons = []
        if self.queued >= MOST_QUEUED:
            reasons.append(f"a thread waited for a CPU {self.queued:.1%} of the time")
        if self.others + self.steal >= MOST_TAKEN:
            reasons.append(f"others took {self.others + self.steal:.1%} of the CPUs")
        if abs(self.disk_bytes - self.expected_bytes) > DISK_TOLERANCE * max(self.expected_bytes, 1 << 20):
            reasons.append(f"{self.disk_bytes} bytes came from the disk, {self.expected_bytes} were expected to")
        return tuple(reasons)

    def __str__(self) -> str:
        """One line for a report."""
        verdict = "; ".join(self.noisy_because)
        return (
            f"{'noisy: ' + verdict if verdict else 'valid'} (run queue {self.queued:.2%}, others {self.others:.1%}, "
            f"steal {self.steal:.1%}, {self.disk_bytes} bytes from the disk)"
        )


class ValidityMeter:
    """Starts when made; `read` gives what happened since."""

    def __init__(self) -> None:
        self._noise = NoiseMeter()
        self._queued = queued_ns()
        self._disk = disk_bytes()
        self._begin_ns = perf_counter_ns()

    def read(self, expected_bytes: int) -> Validity:
        """What happened since; `expected_bytes` should have come from the disk."""
        wall_ns = max(1, perf_counter_ns() - self._begin_ns)
        now = queued_ns()
        queued = max((now[thread] - self._queued.get(thread, 0) for thread in now), default=0)
        others, steal = self._noise.read()
        return Validity(wall_ns / 1e9, queued / wall_ns, others, steal, disk_bytes() - self._disk, expected_bytes)


def queued_ns() -> dict[str, int]:
    """Nanoseconds that each thread of this process has waited on a run queue; empty where the kernel does not say."""
    found = {}
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # a thread that has just ended
            found[task.parent.name] = int(task.read_text(encoding="ascii").split()[1])
    return found


def disk_bytes() -> int:
    """Bytes that this process has caused to be fetched from a disk; 0 where the kernel does not say."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes")), 0)


def cached_fraction(path: Path) -> float:
    """The share of a file's pages that lies in the page cache. Raises OSError where the system cannot tell."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        present = np.zeros(pages, np.uint8)
        array = np.frombuffer(mapped, np.uint8)
        address, length = array.ctypes.data, len(mapped)
        del array
        if _LIBC.mincore(
            ctypes.c_void_p(address), ctypes.c_size_t(length), present.ctypes.data_as(ctypes.POINTER(ctypes.c_ubyte))
        ):
            problem = ctypes.get_errno()
            raise OSError(problem, os.strerror(problem), str(path))
    return float((present & 1).mean())


def warm(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(1 << 20)
        while file.readinto(buffer):
            pass


def cool(path: Path) -> None:
    """Ask the system to drop a file from the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
