"""The thread that hands on what a producer gathered and no later event took with it."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfguard.events.stream import EventStream

_END_S = 5.0


class Flusher(threading.Thread):
    """Sleeps until `wanted` is set, then looks after the stream until nothing waits there. Ends with the stream."""

    def __init__(self, stream: EventStream) -> None:
        super().__init__(name="perfguard-flusher", daemon=True)
        self.wanted = threading.Event()
        self._ended = threading.Event()
        self._stream = weakref.ref(stream, lambda _: self._stop())

    def run(self) -> None:
        """Until the end."""
        while self.wanted.wait() and not self._ended.is_set():
            left_s = self._look()
            while left_s > 0:
                if self._ended.wait(left_s):
                    return
                left_s = self._look()

    def end(self) -> None:
        """End it. Not to be called under the stream's lock."""
        self._stop()
        if threading.current_thread() is not self and self.is_alive():
            self.join(_END_S)

    def _look(self) -> float:
        stream = self._stream()
        return 0.0 if stream is None else stream.flush_late()

    def _stop(self) -> None:
        self._ended.set()
        self.wanted.set()
