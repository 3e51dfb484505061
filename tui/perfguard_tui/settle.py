"""How Python's garbage collector is set for a process that takes in many small maps: seldom, and not what stays."""

from __future__ import annotations

import gc

# Events are trees without circles: counting references frees them. The default looks after 2,000 allocations.
_YOUNG, _MIDDLE, _OLD = 50_000, 20, 100


def settle_memory() -> None:
    """To be called once, when everything is imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
