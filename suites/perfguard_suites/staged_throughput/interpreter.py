"""What a Python process that serves should not do: look through a million old objects, or hold on to its lock."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

# A thread that wants the interpreter's lock waits so long for one that computes: by default 5 ms, half a step. At 10 us
# threads take it from each other all the time: 0.66 ms a step were spent outside passes, 0.24 at 50 us.
SWITCH_S = 50e-6


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
