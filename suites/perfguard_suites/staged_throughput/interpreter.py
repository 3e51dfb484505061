"""What a Python process that serves should not do: look through a million old objects, or hold on to its lock."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

# A thread that wants the interpreter's lock waits so long for one that computes: by default 5 ms, half a step. At 10 us
# threads take it from each other all the time: 0.66 ms a step were spent outside passes, 0.24 at 50 us.
SWITCH_S = 50e-6


def polite() -> None:
    """This process never interrupts the one that wakes it: it starts on a free core, or waits for its turn.

    A front end is woken by the engine in the middle of a step. Linux's scheduler would put it on the engine's core
    there and then where the other one is busy: a send of some 20 us took 700. Nothing where there is no such policy.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Inside, what is there now is no garbage, and threads take turns at once."""
    before_s = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
        gc.unfreeze()
