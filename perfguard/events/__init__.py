"""Events: every step of a run, as it happens, to a file, to viewers and to folds inside the process.

The producer is `EventStream`; the readers are `Replay` (a `.pgrun` file) and `Subscriber` (a live run).
This door only re-exports, and lazily: zmq is imported when a bus opens or a viewer attaches, never before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfguard.events.replay import Replay as Replay
    from perfguard.events.stream import EventStream as EventStream
    from perfguard.events.subscriber import Subscriber as Subscriber

_HOMES = {
    "EventStream": "perfguard.events.stream",
    "Replay": "perfguard.events.replay",
    "Subscriber": "perfguard.events.subscriber",
}
__all__ = ["EventStream", "Replay", "Subscriber"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'perfguard.events' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
