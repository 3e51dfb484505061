"""The store: events go in by one door, whether live, replayed or in a test; frozen snapshots come out.

A reader thread applies, the screen takes snapshots; neither ever sees the other's work half done.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

from perfguard.events.schema import Event
from perfguard_tui.reducers import REDUCERS, RunFold
from perfguard_tui.views import RunView

_WRONG_SHAPE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


class Store:
    """One run, folded from its validated events. Safe to use from two threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run = RunFold()
        self._view: RunView | None = RunView()

    def apply(self, event: Event) -> None:
        """Take one event in. Kinds of a newer version are passed over; wrong inner shapes counted as `bad`."""
        self.apply_all((event,))

    def apply_all(self, events: Iterable[Event]) -> None:
        """Take events in, in their order."""
        with self._lock:
            run, reducer_of = self._run, REDUCERS.get
            for event in events:
                run.count(event["t_ns"])
                reducer = reducer_of(event["kind"])
                try:
                    if reducer is not None:
                        reducer(run, event)
                except _WRONG_SHAPE:
                    run.bad += 1
            self._view = None

    def reset(self) -> None:
        """Forget everything: the same or another run is told from its beginning."""
        with self._lock:
            self._run, self._view = RunFold(), None

    def raw(self, case_id: str, round_index: int) -> tuple[Event, ...]:
        """The events of that round as they came, among the latest ones; nothing if they are no longer kept."""
        with self._lock:
            return tuple(
                event
                for event in self._run.raw
                if event["case"] == case_id and event.get("index", event.get("round")) == round_index
            )

    def snapshot(self, shown: Collection[str] | None = None) -> RunView:
        """The run now; the same object as before if nothing came in between.

        With `shown`, the ids of cases on the screen, the latest samples of the others may be missing for now.
        """
        with self._lock:
            if self._view is None or (shown is None and self._run.stale):
                self._view = self._run.view(shown)
            return self._view
