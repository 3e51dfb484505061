"""What a Python process that serves should not do: look through a million old objects, or hold on to its lock.

And what it should: keep what it lives on in large pages. A pass through the weights leaves no address translation where
the processor looks first, and what is touched next then costs a walk through the page tables as well, twice as long in
a virtual machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# A thread that wants the interpreter's lock waits so long for one that computes: by default 5 ms, half a step. At 10 us
# threads take it from each other all the time: 0.66 ms a step were spent outside passes, 0.24 at 50 us.
SWITCH_S = 50e-6
MADV_COLLAPSE = 25
PAGE_BYTES = 2 << 20
LARGEST_BYTES = 256 << 20  # of a mapping: beyond that it is weights, which gain nothing, and copying them takes seconds


def polite() -> None:
    """Never interrupt the process that wakes this one: be put on a free core, or wait for a turn.

    A front end is woken by the engine in the middle of a step. Linux's scheduler would put it on the engine's core
    there and then where the other one is busy: a send of some 20 us took 700. Nothing where there is no such policy.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def onto_large_pages() -> int:
    """Move this process's objects onto pages of 2 MiB where there are enough side by side; how many such pages.

    0 where the kernel has no MADV_COLLAPSE (Linux before 6.1), or no room.
    """
    if sys.platform != "linux":
        return 0
    madvise = ctypes.CDLL(None).madvise
    moved = 0
    for line in Path("/proc/self/maps").read_text(encoding="ascii", errors="replace").splitlines():
        place, rights, _, _, _, *name = line.split()
        if rights.startswith("rw") and name in ([], ["[heap]"]):
            begin, end = (int(address, 16) for address in place.split("-"))
            if end - begin > LARGEST_BYTES:
                continue
            for page in range(-(-begin // PAGE_BYTES) * PAGE_BYTES, end - PAGE_BYTES + 1, PAGE_BYTES):
                moved += madvise(ctypes.c_void_p(page), ctypes.c_size_t(PAGE_BYTES), MADV_COLLAPSE) == 0
    return moved


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Inside, what is there now is no garbage and lies on large pages, and threads take turns at once."""
    before_s = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    onto_large_pages()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
        gc.unfreeze()
