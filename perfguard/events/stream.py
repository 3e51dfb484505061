"""The producer: `EventStream.emit` makes an event of each step and hands it to file, bus and folds.

One event is packed once. With nobody looking it costs a few microseconds (measure it with
`python -m perfguard.events.bench`), and no viewer, however slow or dead, can make it wait or fail.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from perfguard.events import schema
from perfguard.events.framing import record_of
from perfguard.events.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from perfguard.events.bus import Bus

_log = logging.getLogger("perfguard.events")
_open_streams: weakref.WeakSet[EventStream] = weakref.WeakSet()


class EventStream:
    """The events of one producer of one run: numbered without gaps, in the order emitted, from any thread.

    `on_problem` is called once for each sink that had to stop (a full disk), with one line for the user; the
    lines are also in `problems`. In a forked child the stream goes quiet: file and sockets are the parent's.
    """

    def __init__(self, run_id: str, src: str = "main", on_problem: Callable[[str], None] | None = None) -> None:
        self.run_id = run_id
        self.src = src
        self.problems: tuple[str, ...] = ()
        self._on_problem = on_problem or _log.warning
        self._lock = threading.RLock()  # re-entrant: a fold may itself emit
        self._next_seq = 0
        self._recorder: Recorder | None = None
        self._bus: Bus | None = None
        self._callbacks: tuple[Callable[[schema.Event], None], ...] = ()
        _open_streams.add(self)

    @property
    def emitted(self) -> int:
        """How many events there have been: the next event's `seq`."""
        return self._next_seq

    def open_recorder(self, path: Path) -> None:
        """Record from here on to `path`. Raises `EventError` naming what is in the way."""
        with self._lock:
            if self._recorder is not None:
                raise RuntimeError("this stream is already recording")
            self._recorder = Recorder(path)

    def open_bus(self, endpoint: str | None = None) -> str:
        """Go live at `endpoint`, or at a private socket in the runtime directory; returns the real endpoint.

        Raises `EndpointError` naming the endpoint if it is in use, not loopback, or cannot be bound.
        """
        from perfguard.events.bus import Bus

        with self._lock:
            if self._bus is not None:
                raise RuntimeError("this stream is already live")
            self._bus = Bus(endpoint, self.run_id, self.src, self._next_seq)
            return self._bus.endpoint

    def subscribe(self, callback: Callable[[schema.Event], None]) -> None:
        """Call `callback(event)` for every event from here on, in the emitting thread; not to be changed."""
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

    def emit(self, kind: str, /, **fields: Any) -> None:
        """One event. Raises `EventError` only for fields that cannot be packed: the caller's bug."""
        with self._lock:
            t_ns = time.perf_counter_ns()
            event: schema.Event = {
                "v": schema.VERSION,
                "run": self.run_id,
                "src": self.src,
                "seq": self._next_seq,
                "t_ns": t_ns,
                "kind": kind,
                **fields,
            }
            recorder, bus = self._recorder, self._bus
            if recorder is None and bus is None:
                self._next_seq += 1
            else:
                frame = schema.pack(event)
                record = record_of(frame)
                # Counted before it is handed on: an interrupt in between leaves a gap, which readers count,
                # and never two events of one number, of which readers would drop one.
                self._next_seq += 1
                if recorder is not None:
                    recorder.append(record, kind, t_ns)
                    if recorder.problem is not None:
                        self._recorder = None
                        self._report(recorder.problem)
                if bus is not None:
                    bus.publish(frame, record, kind)
            for callback in self._callbacks:
                callback(event)

    def close(self) -> None:
        """Complete the recording and take leave of the viewers (a second at most); idempotent."""
        with self._lock:
            recorder, self._recorder = self._recorder, None
            bus, self._bus = self._bus, None
        try:
            if recorder is not None:
                recorder.close()
                if recorder.problem is not None:
                    self._report(recorder.problem)
        finally:
            if bus is not None:
                bus.close()

    def _report(self, problem: str) -> None:
        self.problems = (*self.problems, problem)
        self._on_problem(problem)

    def _abandon(self) -> None:
        self._lock = threading.RLock()
        recorder, self._recorder = self._recorder, None
        bus, self._bus = self._bus, None
        self._callbacks = ()
        if recorder is not None:
            recorder.abandon()
        if bus is not None:
            bus.abandon()


def _abandon_all() -> None:
    for stream in list(_open_streams):
        stream._abandon()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_abandon_all)
