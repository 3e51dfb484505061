"""The store: events go in by one door, whether live, replayed or in a test; frozen snapshots come out.

A reader thread applies, the screen takes snapshots; neither ever sees the other's work half done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator

from perfguard.events.rounds import Item, Rounds, joined
from perfguard.events.schema import Event
from perfguard_tui.reducers import REDUCERS, RunFold
from perfguard_tui.rounds_fold import fold_rounds
from perfguard_tui.views import RunView

_WRONG_SHAPE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
_GIVE_WAY_S = 0.0002
_AT_ONCE = 1000  # events between two moments at which the screen may look


class Store:
    """One run, folded from its validated events. Safe to use from two threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._run = RunFold()
        self._view: RunView | None = RunView()
        self._awaited = False  # whether the screen waits for the lock
        self._alarm: Callable[[], object] | None = None

    def apply(self, event: Event) -> None:
        """Take one event in. Kinds of a newer version are passed over; wrong inner shapes counted as `bad`."""
        self.apply_all((event,))

    def apply_batch(self, rounds: Rounds) -> None:
        """Take many rounds in at once: the same as one after the other."""
        self.apply_all((rounds,))

    def apply_all(self, items: Iterable[Item]) -> None:
        """Take events in, in their order, single or many at once; a snapshot may be taken in between."""
        waiting = joined(items, _AT_ONCE)
        while self._apply_some(waiting):
            if self._awaited:  # a lock that is taken again at once is hardly ever given to another
                time.sleep(_GIVE_WAY_S)
        self.stir()

    def _apply_some(self, items: Iterator[Item]) -> bool:
        """Some thousand events; returns whether there may be more."""
        reducer_of = REDUCERS.get
        with self._lock:
            run = self._run
            last = run.events + _AT_ONCE
            self._view = None
            for item in items:
                if isinstance(item, Rounds):
                    fold_rounds(run, item)
                else:
                    run.count(item["t_ns"])
                    reducer = reducer_of(item["kind"])
                    try:
                        if reducer is not None:
                            reducer(run, item)
                    except _WRONG_SHAPE:
                        run.bad += 1
                if run.events >= last:
                    return True
            return False

    def reset(self) -> None:
        """Forget everything: the same or another run is told from its beginning."""
        with self._lock:
            self._run, self._view = RunFold(), None
        self.stir()

    def alarm(self, ring: Callable[[], object]) -> None:
        """Call that once, as soon as there is anything that the latest snapshot lacks, in whichever thread brings it.

        It must neither block nor raise. A later alarm takes an earlier one's place.
        """
        self._alarm = ring
        if self._view is None:
            self.stir()

    def stir(self) -> None:
        """There is something new: ring the alarm, if one was set."""
        ring, self._alarm = self._alarm, None
        if ring is not None:
            ring()

    def raw(self, case_id: str, round_index: int) -> tuple[Event, ...]:
        """The events of that round as they came, among the latest ones; nothing if they are no longer kept."""
        with self._lock:
            return self._run.raw.of_round(case_id, round_index)

    def snapshot(self, shown: Collection[str] | None = None) -> RunView:
        """The run now; the same object as before if nothing came in between.

        With `shown`, the ids of cases on the screen, the latest samples of the others may be missing for now.
        """
        self._awaited = True
        with self._lock:
            self._awaited = False
            stale = self._run.stale
            if self._view is None or (stale and (shown is None or any(case in stale for case in shown))):
                self._view = self._run.view(shown)
            return self._view
