"""The engine's end of the channel to a front end in another process."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from perfguard_suites.staged_throughput import wire
from perfguard_suites.staged_throughput.channel import Cancel, Delivery, Message
from perfguard_suites.staged_throughput.errors import ChannelBroken, StagedError
from perfguard_suites.staged_throughput.gauges import Board
from perfguard_suites.staged_throughput.sampling import SamplingParameters
from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence as Items

    from perfguard_suites.staged_throughput.scheduler import Scheduler

RETRY_S = 1e-3  # a front end that did not take all
NOTHING: list[Message] = []


class ProcessChannel:
    """One message a step, whatever it carries. `scheduler`: who takes the requests.

    `ready`, `left`: the front end has said so; `lost`: it has ended without a word, or did not make sense (`problem`).
    Then all its requests are cancelled.
    """

    def __init__(self, end: socket.socket, bell: socket.socket, board: Board) -> None:
        self.wire = Wire(end)
        bell.setblocking(False)
        self._bell = bell
        self.board = board
        self.scheduler: Scheduler | None = None
        self.closed = self.ready = self.left = self.lost = self._gone = False
        self.problem = ""
        self.reports: list[dict[str, Any]] = []
        self._inbox: deque[Message] = deque()
        self._sequences: dict[int, Sequence] = {}
        self._numbers: dict[Sequence, int] = {}
        self._said: Items[Sequence] | None = None
        self._peek, self._seen = board.peek, (0,)
        self._troubled = False  # the front end does not take all, or has gone
        self._alarm, self._ringer = socket.socketpair()
        self._alarm.setblocking(False)
        self._poll = select.poll()
        for each in (end, self._alarm):
            self._poll.register(each, select.POLLIN)
        self._lock = threading.Lock()

    def put(self, message: Message) -> None:
        """See `Channel`; only the scheduler's own thread puts anything, while it receives."""
        self._inbox.append(message)

    def receive(self, wait_s: float) -> list[Message]:
        """See `Channel`."""
        if not wait_s and self._peek() == self._seen and not self._troubled:
            return NOTHING  # in nearly all steps
        self.look(wait_s)
        found = list(self._inbox)
        self._inbox.clear()
        return found

    def look(self, wait_s: float) -> None:
        """Read what has come, for the next `receive`."""
        if wait_s > 0 and not self.closed:
            self._poll.poll(1e3 * (min(wait_s, RETRY_S) if self.wire.waits else wait_s))
            with contextlib.suppress(BlockingIOError):
                self._alarm.recv(64)
        self._seen = self._peek()
        self._read()
        if self.wire.waits:
            self.wire.flush()
            self._ring()  # the last of it may be an end, for which the bell was rung too early
        if self.wire.over and not self._gone:
            self._lose()
        self._troubled = self.wire.waits

    def send(self, delivery: Delivery) -> None:
        """See `Channel`."""
        sequences, tokens, ended = delivery
        numbers = None
        if sequences is not self._said:
            self._said = sequences
            numbers = [self._numbers.get(each, -1) for each in sequences]
        over = None
        if ended:
            over = [
                [self._numbers.get(each, -1), each.finish, "" if each.error is None else str(each.error)]
                for each in ended
            ]
            for each in ended:
                self._sequences.pop(self._numbers.pop(each, -1), None)
        if not self._gone:
            self._troubled = not self.wire.send([wire.STEP, numbers, tokens, over])
            if over:
                self._ring()

    def close(self) -> None:
        """See `Channel`."""
        with self._lock, contextlib.suppress(OSError):
            self.closed = True
            self._ringer.send(b"\0")

    def ask(self) -> None:
        """For a report: what the front end has counted, into `reports`."""
        self.wire.send([wire.ASK])
        self._ring()

    def dispose(self) -> None:
        """Give the sockets back."""
        for each in (self.wire, self._bell, self._alarm, self._ringer):
            each.close()

    def _ring(self) -> None:
        """Wake the front end, which otherwise looks by itself."""
        with contextlib.suppress(OSError):  # it is awake enough, or gone
            self._bell.send(b"\0")

    def _read(self) -> None:
        if self.wire.over:
            return
        try:
            for message in self.wire.receive():
                self._understand(message)
        except ChannelBroken as error:
            self.problem = str(error)
            self.wire.close()
            self._bell.close()

    def _lose(self) -> None:
        """The front end is gone: nobody waits for anything any more."""
        self.closed = self._gone = True
        self.lost = not self.left
        assert self.scheduler is not None
        for sequence in self._sequences.values():
            self._inbox.append(Cancel(sequence, self.scheduler.batches.calls))

    def _understand(self, message: list[Any]) -> None:
        match message:
            case [wire.REQUEST, int() as number, str() as name, list() as prompt, list() as sampling, *rest]:
                self._request(number, name, prompt, sampling, rest)
            case [wire.CANCEL, int() as number, int() as at_step]:
                sequence = self._sequences.get(number)
                if sequence is not None:
                    self._inbox.append(Cancel(sequence, at_step))
            case [wire.REPORT, dict() as report]:
                self.reports.append(report)
            case [wire.READY]:
                self.ready = True
            case [wire.BYE]:
                self.left = True
            case _:
                raise ChannelBroken("front end", f"says what nobody understands: {message!r:.60}")

    def _request(self, number: int, name: str, prompt: list[Any], sampling: list[Any], rest: list[Any]) -> None:
        try:
            tokens, temperature, top_p, seed, ignore_eos = sampling
            client, arrived_s = rest
            parameters = SamplingParameters(
                max_tokens=int(tokens),
                temperature=float(temperature),
                top_p=float(top_p),
                seed=None if seed is None else int(seed),
                ignore_eos=bool(ignore_eos),
            )
            sequence = Sequence(name, [int(each) for each in prompt], parameters, client=str(client))
            sequence.arrived_s = float(arrived_s)
        except (TypeError, ValueError) as error:
            raise ChannelBroken("front end", f"asks for what cannot be: {error}") from error
        self._sequences[number], self._numbers[sequence] = sequence, number
        assert self.scheduler is not None
        try:
            self.scheduler.submit(sequence)
        except StagedError as error:  # the front end checks before: here it is the engine's last word
            sequence.error, sequence.finish = error, "error"
            self.send(Delivery((), (), [sequence]))
