"""Stage 5, `Scheduler`: who waits, who is let in, which id and how many cells each has, and who gets tokens."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Items
from time import perf_counter

from perfguard_suites.staged_throughput.channel import WAIT_S, Cancel, Channel, Delivery, Message, gather
from perfguard_suites.staged_throughput.errors import QueueFull, StagedError
from perfguard_suites.staged_throughput.gauges import Board, Gauges
from perfguard_suites.staged_throughput.schedule import Replay
from perfguard_suites.staged_throughput.scheduler_batch_processor import SchedulerBatchProcessor
from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.sequence_ids import SequenceIds

LONGEST_RETRY_S = 60
UNKNOWN_SERVICE_S = 1.0  # of a request, before one was served
NOTHING = Delivery((), (), ())
MOST_LULLS = 5
# Clock readings and sums in every step would be a tenth of all that is between two passes.
TIMED_EVERY = 7


class Scheduler:
    """Continuous batching over a `channel`: requests are let in as soon as an id and their cells are free.

    A request has all cells it may need reserved, so that none is ever thrown out half-way. Clients take turns, each
    client's requests go in the order they came, and none overtakes the next in turn: nobody starves. `replay`: follow
    a schedule instead. `capacity`: cells that one sequence has at most; `cells`: all together, every slot's by default.
    `most_steps_to_free`: between a cancellation and the cells being free, at worst. `on_end` is told each request that
    is over. `board`: where its gauges are shown to another process. `gather_s`: with nothing to do, what comes within
    so long of the request before it begins together with it.
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
        self.on_end: Callable[[Sequence], object] = _nobody
        self.gather_s = 0.0
        self.board: Board | None = None
        self._scheduling_s = self._sending_s = 0.0
        self._waiting: dict[str, deque[Sequence]] = {}
        self._holds: dict[Sequence, tuple[int, int]] = {}
        self._reserved = self._came = self._left_queue = 0
        self._lock = threading.Lock()
        self._service_s = 0.0

    # -- for whoever asks, in any thread

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return self._came - self._left_queue

    @property
    def running(self) -> int:
        """Requests that were let in."""
        return len(self._holds)

    @property
    def reserved_cells(self) -> int:
        """Cells of the KV cache that running requests may come to need."""
        return self._reserved

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by what they were spent on, from every seventh turn."""
        return {"scheduling": self._scheduling_s, "sending": self._sending_s}

    def gauges(self) -> Gauges:
        """All that is counted here and below."""
        backend = self.batches.processor.executor.engine.backend
        mean_s = self._service_s / self.completed if self.completed else UNKNOWN_SERVICE_S
        return Gauges(
            steps=self.batches.calls,
            left_queue=self._left_queue,
            running=self.running,
            queued=self.queued,
            completed=self.completed,
            cancelled=self.cancelled,
            failed=self.failed,
            most_steps_to_free=self.most_steps_to_free,
            passes=backend.calls,
            cells=backend.cells,
            reserved_cells=self._reserved,
            service_us=round(1e6 * mean_s),
        )

    def count_from(self, left_queue: int) -> None:
        """Go on with another scheduler's count of the requests that left the queue; before the first one comes."""
        self._came = self._left_queue = left_queue

    def submit(self, sequence: Sequence) -> None:
        """Queue a request. Raises `QueueFull`, and `StagedError` for one that could never be let in."""
        if sequence.cells > min(self.capacity, self.cells):
            raise StagedError(
                f"request {sequence.name!r:.60}",
                f"needs {sequence.cells} cells, a sequence has {min(self.capacity, self.cells)} at most",
            )
        with self._lock:
            if self.queued >= self.max_queue:
                self.refused += 1
                raise QueueFull(self.queued, retry_after_s(self.queued, self.gauges(), self.ids.count))
            self._came += 1
        sequence.arrived_s = sequence.arrived_s or perf_counter()
        self.channel.put(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """Nobody wants it any more: it is freed before the next step begins."""
        self.channel.put(Cancel(sequence, self.batches.calls))

    # -- the scheduler's own thread

    def run(self) -> None:
        """Serve what there is, then return."""
        while self.turn(0.0):
            pass

    def serve(self) -> None:
        """Serve until the channel is closed and nothing is left."""
        working = True
        while working or not (self.channel.closed and not self.running and not self.queued):
            working = self.turn(0.0 if working else WAIT_S)

    def turn(self, wait_s: float) -> bool:
        """Receive, admit, compute one step, send; whether there was anything to do."""
        self.calls += 1
        messages = self.channel.receive(wait_s)
        timed = not self.calls % TIMED_EVERY
        if timed:
            begin_s = perf_counter()
        ended = self._let_in(messages) if messages else ()
        if self._waiting and self.ids.free:
            self._admit()
        batches, board = self.batches, self.board
        if board is not None:
            if messages or timed:
                board.write(self.gauges())
            else:
                board.write_steps(batches.calls)
        if timed:
            chosen_s = perf_counter()
        delivery = batches.step() if batches.running else NOTHING
        if timed:
            stepped_s = perf_counter()
        if ended or delivery.ended or not delivery.sequences:
            delivery = self._let_out(ended, delivery)
            if not delivery.ended and not delivery.sequences:
                return bool(messages)
        self.channel.send(delivery)
        if timed:
            self._scheduling_s += TIMED_EVERY * (chosen_s - begin_s)
            self._sending_s += TIMED_EVERY * (perf_counter() - stepped_s)
        return True

    def _let_in(self, messages: list[Message]) -> list[Sequence]:
        """Put requests into their lines, more of them where they begin a batch, and cancelled ones out: those."""
        if self.gather_s and not self.batches.running:
            gather(self.channel, messages, self.ids.free, self.gather_s, MOST_LULLS * self.gather_s)
        ended = []
        for message in messages:
            if isinstance(message, Cancel):
                if self._cancel(message):
                    ended.append(message.sequence)
            else:
                self._waiting.setdefault(message.client, deque()).append(message)
        return ended

    def _let_out(self, cancelled: Items[Sequence], delivery: Delivery) -> Delivery:
        """Release who has ended. The delivery, with those cancelled before it."""
        for each in delivery.ended:
            self._release(each)
        if delivery.ended and self.board is not None:
            self.board.write(self.gauges())
        return Delivery(delivery.sequences, delivery.tokens, [*cancelled, *delivery.ended]) if cancelled else delivery

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
            self._left_queue += 1
            sequence.slot, sequence.admitted_s = self.ids.take(), now_s
            self._holds[sequence] = (sequence.slot, sequence.cells)
            self._reserved += sequence.cells
            self.batches.join(sequence)

    def _next_in(self, line: deque[Sequence]) -> Sequence | None:
        if self.replay is None:
            return line[0]
        return next((each for each in line if self.replay.admits(each.name)), None)

    def _cancel(self, message: Cancel) -> bool:
        """Whether there was anything left to cancel."""
        sequence = message.sequence
        if sequence in self._holds:
            self.batches.leave(sequence, "cancelled")
            self._release(sequence)
            self.most_steps_to_free = max(self.most_steps_to_free, self.batches.calls - message.at_step)
            return True
        line = self._waiting.get(sequence.client)
        if line is None or sequence not in line:
            return False  # it has ended
        line.remove(sequence)
        if not line:
            del self._waiting[sequence.client]
        self._left_queue += 1
        sequence.finish = "cancelled"
        self.cancelled += 1
        self.on_end(sequence)
        return True

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
        self.on_end(sequence)


def retry_after_s(queued: int, gauges: Gauges, slots: int) -> int:
    """Whole seconds until a queue should have been served, as requests took so far."""
    return min(LONGEST_RETRY_S, max(1, math.ceil(queued * 1e-6 * gauges.service_us / max(1, slots))))


def _nobody(_: Sequence) -> None:
    pass
