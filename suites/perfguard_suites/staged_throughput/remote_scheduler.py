"""The front end's end of the channel: the scheduler in the engine's process, as an endpoint knows one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import perf_counter
from typing import Any

from perfguard_suites.staged_throughput import wire
from perfguard_suites.staged_throughput.channel import Deliver, Delivery
from perfguard_suites.staged_throughput.errors import ChannelBroken, EngineLost, QueueFull, StagedError
from perfguard_suites.staged_throughput.gauges import Board, Gauges
from perfguard_suites.staged_throughput.scheduler import retry_after_s
from perfguard_suites.staged_throughput.sequence import Sequence

LOOK_S, MOST_LOOK_S = 1e-3, 8e-3
LOOKS_A_STEP = 64


def look_s(step_s: float) -> float:
    """How long until it is looked again for tokens that come every `step_s`: late by a 64th of a step at most.

    A millisecond at least, which a small model's client does not see, and eight at most, which nobody does: where a
    step takes a third of a second, to look each millisecond is a twentieth of all that a server computes.
    """
    return min(MOST_LOOK_S, max(LOOK_S, step_s / LOOKS_A_STEP))


class RemoteScheduler:
    """Takes requests and gives tokens as they come, in the event loop's thread.

    The engine wakes this end only where a request ends. Tokens are looked for every millisecond or so (`look_s`), while
    anybody waits for some: to wake another process in every step costs the engine more than all else it does between
    two passes.

    `deliver` gets them; `report` is asked what was counted here; `on_lost` is told that the engine has ended, when
    everybody who waited has been told. The queue's bound is kept here: what waits is what was sent and has not left the
    engine's queue by the engine's own count.
    """

    def __init__(
        self,
        end: socket.socket,
        bell: socket.socket,
        board: Board,
        *,
        slots: int,
        max_queue: int,
        deliver: Deliver,
        report: Callable[[], dict[str, Any]],
        on_lost: Callable[[], object],
    ) -> None:
        self.wire, self.board = wire.Wire(end), board
        self.slots, self.max_queue = slots, max_queue
        self.refused = 0
        self.lost = False
        self._deliver, self._report, self._on_lost = deliver, report, on_lost
        self._sent = 0
        self._sequences: dict[int, Sequence] = {}
        self._numbers: dict[Sequence, int] = {}
        self._members: list[Sequence] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = False
        self._steps = -1
        self._look_s, self._stepped_s = LOOK_S, 0.0
        bell.setblocking(False)
        self._bell = bell
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen to the engine, on the running event loop, and say that this end is ready."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._bell, self._rung)
        self._tell([wire.READY])

    def stop(self) -> None:
        """Say goodbye."""
        if self._loop is not None and not self.wire.over:
            self._tell([wire.BYE])
        self._hang_up()
        self.wire.close()
        self._bell.close()

    @property
    def queued(self) -> int:
        """Requests that wait, those on their way among them."""
        return self._sent - self.board.read().left_queue

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return self.board.read().running

    def gauges(self) -> Gauges:
        """What the engine counts."""
        found = self.board.read()
        return found._replace(queued=self._sent - found.left_queue)

    def submit(self, sequence: Sequence) -> None:
        """Queue a request. Raises `QueueFull` and `EngineLost`."""
        if self.lost:
            raise EngineLost("engine", "has ended", "start the server again")
        gauges = self.gauges()
        if gauges.queued >= self.max_queue:
            self.refused += 1
            raise QueueFull(gauges.queued, retry_after_s(gauges.queued, gauges, self.slots))
        self._sent += 1
        number = self._sent
        if not self._sequences:
            self._look_s, self._stepped_s = LOOK_S, 0.0  # how long nobody wanted anything is no step
        self._sequences[number], self._numbers[sequence] = sequence, number
        self._look_again()
        sequence.arrived_s = sequence.arrived_s or perf_counter()
        asked = sequence.sampling
        sampling = [asked.max_tokens, asked.temperature, asked.top_p, asked.seed, asked.ignore_eos]
        prompt = sequence.prompt
        self._tell([wire.REQUEST, number, sequence.name, prompt, sampling, sequence.client, sequence.arrived_s])

    def cancel(self, sequence: Sequence) -> None:
        """Nobody wants it any more."""
        number = self._numbers.get(sequence)
        if number is not None and not self.lost:
            self._tell([wire.CANCEL, number, self.board.read().steps])

    def _tell(self, message: list[Any]) -> None:
        self.wire.send(message)
        self._look_after()

    def _look_after(self) -> None:
        """The engine reads when the count of notes has changed; what it did not take is sent when it can."""
        self.board.notes += 1
        assert self._loop is not None
        if self.wire.waits != self._writing:
            self._writing = self.wire.waits
            if self._writing:
                self._loop.add_writer(self.wire.socket, self._flush)
            else:
                self._loop.remove_writer(self.wire.socket)

    def _flush(self) -> None:
        self.wire.flush()
        self._look_after()

    def _look_again(self) -> None:
        """Later, while anybody waits for tokens."""
        if self._timer is None and self._sequences and self._loop is not None:
            self._timer = self._loop.call_later(self._look_s, self._look)

    def _look(self) -> None:
        self._timer = None
        steps = self.board.read().steps
        if steps != self._steps:  # or else a step is under way still
            now_s = perf_counter()
            if self._stepped_s:
                self._look_s = look_s((now_s - self._stepped_s) / max(1, steps - self._steps))
            self._steps, self._stepped_s = steps, now_s
            self._read()
        self._look_again()

    def _rung(self) -> None:
        try:
            rung = self._bell.recv(wire.READ_BYTES)
        except BlockingIOError:
            return
        self._read()
        while not rung and not self.lost:  # the engine's end is closed: to the end of what it said
            self._read()

    def _read(self) -> None:
        if self.lost:
            return
        try:
            for message in self.wire.receive():
                self._understand(message)
        except ChannelBroken as error:
            self._lose(error)
        else:
            if self.wire.over:
                self._lose(EngineLost("engine", "has ended before the answer was complete", "start the server again"))

    def _understand(self, message: list[Any]) -> None:
        match message:
            case [wire.STEP, numbers, list() as tokens, over]:
                self._step(numbers, tokens, over or ())
            case [wire.ASK]:
                self._tell([wire.REPORT, self._report()])
            case _:
                raise ChannelBroken("engine", f"says what nobody understands: {message!r:.60}")

    def _step(self, numbers: Any, tokens: list[Any], over: Any) -> None:
        try:
            if numbers is not None:
                self._members = [self._sequences[number] for number in numbers]
            members = self._members
            if len(members) != len(tokens) or not all(type(token) is int for token in tokens):
                raise ChannelBroken("engine", f"{tokens!r:.60} are no tokens of {len(members)} sequences")
            ended = [self._end(*each) for each in over]
        except (TypeError, KeyError) as error:
            raise ChannelBroken("engine", f"names a request that is none: {error}") from error
        self._deliver(Delivery(members, tokens, ended))

    def _end(self, number: int, finish: str, problem: str) -> Sequence:
        sequence = self._sequences.pop(number)
        del self._numbers[sequence]
        sequence.finish = finish
        if problem:
            sequence.error = StagedError("request", problem)
        return sequence

    def _lose(self, error: StagedError) -> None:
        """The engine is gone: everybody who waits is told."""
        self.lost = True
        self._hang_up()
        waiting = list(self._sequences.values())
        for each in waiting:
            each.error, each.finish = error, "error"
        self._sequences.clear()
        self._numbers.clear()
        self._deliver(Delivery((), (), waiting))
        self._on_lost()

    def _hang_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self._bell)
            self._loop.remove_writer(self.wire.socket)
