"""Stage 5, `Scheduler`: who waits, who is let in, which id and how many cells each has, and who gets tokens."""

from __future__ import annotations

import math
import threading
from collections import deque
from time import perf_counter

from perfguard_suites.staged_throughput.channel import Cancel, Channel, Update
from perfguard_suites.staged_throughput.errors import QueueFull, StagedError
from perfguard_suites.staged_throughput.schedule import Replay
from perfguard_suites.staged_throughput.scheduler_batch_processor import SchedulerBatchProcessor
from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.sequence_ids import SequenceIds

LONGEST_RETRY_S = 60


class Scheduler:
    """Continuous batching over a `channel`: requests are let in as soon as an id and their cells are free.

    A request has all cells it may need reserved, so that none is ever thrown out half-way. Clients take turns, each
    client's requests go in the order they came, and none overtakes the next in turn: nobody starves. `replay`: follow
    a schedule instead. `capacity`: cells that one sequence has at most; `cells`: all together, every slot's by default.
    `most_steps_to_free`: between a cancellation and the cells being free, at worst.
    """

    def __init__(
        self,
        batches: SchedulerBatchProcessor,
        channel: Channel,
        *,
        slots: int,
        capacity: int,
        cells: int = 0,
        max_queue: int = 256,
        replay: Replay | None = None,
    ) -> None:
        self.batches, self.channel = batches, channel
        self.capacity, self.cells = capacity, cells or slots * capacity
        self.max_queue, self.replay = max_queue, replay
        if replay is not None:
            batches.choose = replay.choose
        self.ids = SequenceIds(slots)
        self.calls = self.completed = self.cancelled = self.failed = self.refused = self.most_steps_to_free = 0
        self.phases = {"scheduling": 0.0, "batching and sampling": 0.0, "sending": 0.0}
        self._waiting: dict[str, deque[Sequence]] = {}
        self._holds: dict[Sequence, tuple[int, int]] = {}
        self._reserved = self._queued = 0
        self._lock = threading.Lock()
        self._service_s = 0.0

    # -- for whoever asks, in any thread

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return self._queued

    @property
    def running(self) -> int:
        """Requests that were let in."""
        return len(self._holds)

    @property
    def reserved_cells(self) -> int:
        """Cells of the KV cache that running requests may come to need."""
        return self._reserved

    def submit(self, sequence: Sequence) -> None:
        """Queue a request. Raises `QueueFull`, and `StagedError` for one that could never be let in."""
        if sequence.cells > min(self.capacity, self.cells):
            raise StagedError(
                f"request {sequence.name!r:.60}",
                f"needs {sequence.cells} cells, a sequence has {min(self.capacity, self.cells)} at most",
            )
        with self._lock:
            if self._queued >= self.max_queue:
                self.refused += 1
                raise QueueFull(self._queued, self.retry_after_s())
            self._queued += 1
        sequence.arrived_s = sequence.arrived_s or perf_counter()
        self.channel.put(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """Nobody wants it any more: it is freed before the next step begins."""
        self.channel.put(Cancel(sequence, self.batches.calls))

    def retry_after_s(self) -> int:
        """Whole seconds until the queue should have been served, as requests took so far."""
        mean_s = self._service_s / self.completed if self.completed else 1.0
        return min(LONGEST_RETRY_S, max(1, math.ceil(self._queued * mean_s / max(1, self.ids.free + self.running))))

    # -- the scheduler's own thread

    def run(self) -> None:
        """Serve what there is, then return."""
        while self.turn(wait=False):
            pass

    def serve(self) -> None:
        """Serve until the channel is closed and nothing is left."""
        working = True
        while working or not (self.channel.closed and not self.running and not self._queued):
            working = self.turn(wait=not working)

    def turn(self, *, wait: bool) -> bool:
        """Receive, admit, compute one step, send; whether there was anything to do."""
        self.calls += 1
        begin_s = perf_counter()
        updates: list[Update] = []
        messages = self.channel.receive(wait=wait)
        if wait:
            begin_s = perf_counter()
        for message in messages:
            if isinstance(message, Cancel):
                self._cancel(message, updates)
            else:
                self._waiting.setdefault(message.client, deque()).append(message)
        if self._waiting and self.ids.free:
            self._admit()
        chosen_s = perf_counter()
        chosen = self.batches.step() if self.batches.running else ()
        stepped_s = perf_counter()
        for each in chosen:
            finish = each.finish
            if finish:
                self._release(each)
            updates.append((each, -1 if each.error is not None else each.tokens[-1], finish))
        sent_from_s = perf_counter()
        if updates:
            self.channel.send(updates)
        end_s = perf_counter()
        phases = self.phases
        phases["scheduling"] += chosen_s - begin_s + sent_from_s - stepped_s
        phases["batching and sampling"] += stepped_s - chosen_s
        phases["sending"] += end_s - sent_from_s
        return bool(updates or messages)

    def _admit(self) -> None:
        now_s = perf_counter()
        while self._waiting and self.ids.free:
            client, line = next(iter(self._waiting.items()))
            sequence = self._next_in(line)
            if sequence is None or self._reserved + sequence.cells > self.cells:
                return
            line.remove(sequence)
            del self._waiting[client]
            if line:  # at the end: the other clients' turn first
                self._waiting[client] = line
            with self._lock:
                self._queued -= 1
            sequence.slot, sequence.admitted_s = self.ids.take(), now_s
            self._holds[sequence] = (sequence.slot, sequence.cells)
            self._reserved += sequence.cells
            self.batches.join(sequence)

    def _next_in(self, line: deque[Sequence]) -> Sequence | None:
        if self.replay is None:
            return line[0]
        return next((each for each in line if self.replay.admits(each.name)), None)

    def _cancel(self, message: Cancel, updates: list[Update]) -> None:
        sequence = message.sequence
        if sequence in self._holds:
            self.batches.leave(sequence, "cancelled")
            self._release(sequence)
            self.most_steps_to_free = max(self.most_steps_to_free, self.batches.calls - message.at_step)
        else:
            line = self._waiting.get(sequence.client)
            if line is None or sequence not in line:
                return  # it has ended
            line.remove(sequence)
            if not line:
                del self._waiting[sequence.client]
            with self._lock:
                self._queued -= 1
            sequence.finish = "cancelled"
            self.cancelled += 1
        updates.append((sequence, -1, "cancelled"))

    def _release(self, sequence: Sequence) -> None:
        slot, cells = self._holds.pop(sequence)
        self.ids.give_back(slot)
        self._reserved -= cells
        if sequence.finish == "cancelled":
            self.cancelled += 1
        elif sequence.finish == "error":
            self.failed += 1
        else:
            self.completed += 1
            self._service_s += perf_counter() - sequence.admitted_s
