"""How Python is set for a process that takes in many small maps in one thread and draws in another."""

from __future__ import annotations

import gc
import sys

# Events are trees without circles: counting references frees them. The default looks after 2,000 allocations.
_YOUNG, _MIDDLE, _OLD = 50_000, 20, 100
_SWITCH_S = 0.001  # how long the thread that draws waits for the one that reads; Python's own 5 ms are seen


def settle() -> None:
    """To be called once, when everything is imported; garbage is looked for from here on, among what comes."""
    sys.setswitchinterval(_SWITCH_S)
    gc.freeze()
    gc.enable()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
