"""The producer: `EventStream.emit` makes an event of each step and hands it to file, bus and folds.

One event is packed once, and rounds that come fast are packed together: the first at once, those of the next
`GATHER_NS` with it or when there are many. A thread sees to those that no event follows; it sleeps as long as rounds
come slower than that. So a run that is killed loses what it emitted in its last `LATE_NS`, and nothing that went
before a step of the run. With nobody looking an event costs a few microseconds (measure it with `python -m
perfguard.events.bench`), and no viewer, however slow or dead, can make it wait or fail.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from perfguard.events import schema
from perfguard.events.flusher import Flusher
from perfguard.events.framing import record_of
from perfguard.events.gather import Gatherer
from perfguard.events.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from perfguard.events.bus import Bus

GATHER_NS = 20_000_000
LATE_NS = 40_000_000

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
        self._gatherer = Gatherer(run_id, src)
        self._flushed_ns = 0
        self._flusher: Flusher | None = None
        self._looked_after = False  # whether it knows that something waits
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
            self._flush()
            self._recorder = Recorder(path)

    def open_bus(self, endpoint: str | None = None) -> str:
        """Go live at `endpoint`, or at a private socket in the runtime directory; returns the real endpoint.

        Raises `EndpointError` naming the endpoint if it is in use, not loopback, or cannot be bound.
        """
        from perfguard.events.bus import Bus

        with self._lock:
            if self._bus is not None:
                raise RuntimeError("this stream is already live")
            self._flush()
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
            seq = self._next_seq
            event: schema.Event | None = None
            if self._recorder is None and self._bus is None:
                self._next_seq += 1
            elif kind != "round" or not self._gather(t_ns, fields):
                event = self._event(kind, seq, t_ns, fields)
                self._send(event)
            if self._callbacks:
                event = event or self._event(kind, seq, t_ns, fields)
                for callback in self._callbacks:
                    callback(event)

    def close(self) -> None:
        """Hand on what was gathered, complete the recording, take leave of viewers; idempotent.

        A viewer that is late is waited for while it gets further: ten seconds at most, and a second if it stalls.
        """
        with self._lock:
            self._flush()
            recorder, self._recorder = self._recorder, None
            bus, self._bus = self._bus, None
            flusher, self._flusher, self._looked_after = self._flusher, None, False
        try:
            if flusher is not None:
                flusher.end()
            if recorder is not None:
                recorder.close()
                if recorder.problem is not None:
                    self._report(recorder.problem)
        finally:
            if bus is not None:
                bus.close()

    def flush_late(self) -> float:
        """Hand on what has waited for `LATE_NS`; returns for how many seconds nothing will be late, 0 if nothing waits.

        What the `Flusher` does.
        """
        with self._lock:
            since_ns = self._waiting_since_ns()
            if since_ns is not None and (left_ns := since_ns + LATE_NS - time.perf_counter_ns()) > 0:
                return left_ns / 1e9
            self._flush()
            if self._recorder is not None:
                self._recorder.flush()
                self._look_at_recorder(self._recorder)
            if self._flusher is not None:
                self._flusher.wanted.clear()
                self._looked_after = False
            return 0.0

    def _gather(self, t_ns: int, fields: dict[str, Any]) -> bool:
        """Take a round in to be sent with others, or say that it must go by itself."""
        # Counted before it is handed on: an interrupt in between leaves a gap, which readers count, and never two
        # events of one number, of which readers would drop one.
        seq = self._next_seq
        self._next_seq = seq + 1
        if not self._gatherer.add(seq, t_ns, fields):
            self._next_seq = seq
            return False
        if t_ns - self._flushed_ns >= GATHER_NS or self._gatherer.full:
            self._flush(t_ns)
        if not self._looked_after:
            self._want_flusher()
        return True

    def _send(self, event: schema.Event) -> None:
        """An event by itself, after what was gathered before it."""
        frame = schema.pack(event)
        self._flush(event["t_ns"])
        self._next_seq = event["seq"] + 1
        self._hand_on(frame, event["kind"], event["seq"], 1, event["t_ns"])
        self._want_flusher()

    def _event(self, kind: str, seq: int, t_ns: int, fields: dict[str, Any]) -> schema.Event:
        envelope = {"v": schema.VERSION, "run": self.run_id, "src": self.src, "seq": seq, "t_ns": t_ns, "kind": kind}
        return {**envelope, **fields}

    def _flush(self, t_ns: int | None = None) -> None:
        """Hand on what was gathered."""
        if self._gatherer.rows:
            self._flushed_ns = now_ns = time.perf_counter_ns() if t_ns is None else t_ns
            # Forgotten only when it is out: an interrupt in between sends some twice, and readers drop those.
            for frame, seq, events in self._gatherer.frames():
                self._hand_on(frame, schema.ROUNDS, seq, events, now_ns)
            self._gatherer.clear()

    def _hand_on(self, frame: bytes, kind: str, seq: int, events: int, t_ns: int) -> None:
        recorder, bus = self._recorder, self._bus
        record = record_of(frame)
        if recorder is not None:
            recorder.append(record, kind, t_ns)
            self._look_at_recorder(recorder)
        if bus is not None:
            bus.publish(frame, record, kind, seq, events)

    def _look_at_recorder(self, recorder: Recorder) -> None:
        if recorder.problem is not None:
            self._recorder = None
            self._report(recorder.problem)

    def _waiting_since_ns(self) -> int | None:
        """When the first came of what was neither written nor published yet; None if nothing waits."""
        recorder_ns = None if self._recorder is None else self._recorder.waiting_since_ns
        rows = self._gatherer.rows
        return recorder_ns or (rows[0][1] if rows else None)

    def _want_flusher(self) -> None:
        """If something waits, have it looked after."""
        if self._waiting_since_ns() is None:
            return
        if self._flusher is None:
            self._flusher = Flusher(self)
            self._flusher.start()
        self._flusher.wanted.set()
        self._looked_after = True

    def _report(self, problem: str) -> None:
        self.problems = (*self.problems, problem)
        self._on_problem(problem)

    def _abandon(self) -> None:
        self._lock = threading.RLock()
        recorder, self._recorder = self._recorder, None
        bus, self._bus = self._bus, None
        self._callbacks = ()
        self._gatherer.clear()
        self._flusher, self._looked_after = None, False
        if recorder is not None:
            recorder.abandon()
        if bus is not None:
            bus.abandon()


def _abandon_all() -> None:
    for stream in list(_open_streams):
        stream._abandon()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_abandon_all)
