"""What a scheduler receives requests from and sends tokens to: one scheduler serves a loop here and a socket there.

`DirectChannel` is for a caller in the scheduler's own thread, `LoopChannel` for an event loop in another,
`ProcessChannel` (`process_channel.py`) for one in another process.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Protocol

from perfguard_suites.staged_throughput.sequence import Sequence


class Delivery(NamedTuple):
    """What a step brought: a token for each of `sequences`. `ended`: those that are over, with or without a token now.

    A step's lists are read by others later, and so never changed once they were sent.
    """

    sequences: Items[Sequence]
    tokens: Items[int]
    ended: Items[Sequence]


Deliver = Callable[[Delivery], object]
WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for that sequence any more, since the step of that number."""

    sequence: Sequence
    at_step: int


Message = Sequence | Cancel


class Channel(Protocol):
    """Both ends. `put` and `close` may be called from the other thread, `receive` and `send` are the scheduler's."""

    closed: bool

    def put(self, message: Message) -> None:
        """To the scheduler."""

    def receive(self, wait_s: float) -> list[Message]:
        """What has come; where nothing has, the scheduler has nothing else to do and sleeps so long for it."""

    def send(self, delivery: Delivery) -> None:
        """To whoever asked."""

    def close(self) -> None:
        """Nothing more will be put."""


class DirectChannel:
    """No thread between: `deliver` is called by `send`, and may put the next request."""

    def __init__(self, deliver: Deliver) -> None:
        self.closed = True  # what was put is all there is
        self._deliver = deliver
        self._inbox: deque[Message] = deque()

    def put(self, message: Message) -> None:
        """See `Channel`."""
        self._inbox.append(message)

    def receive(self, wait_s: float) -> list[Message]:  # noqa: ARG002 - nobody else could put anything meanwhile
        """See `Channel`."""
        if not self._inbox:
            return []
        found = list(self._inbox)
        self._inbox.clear()
        return found

    def send(self, delivery: Delivery) -> None:
        """See `Channel`."""
        self._deliver(delivery)

    def close(self) -> None:
        """See `Channel`."""


class LoopChannel:
    """To and from an event loop that runs in another thread: one wake-up a step, however many tokens it carries."""

    def __init__(self, deliver: Deliver) -> None:
        self.closed = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self._deliver = deliver
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """See `Channel`."""
        self._inbox.put(message)

    def receive(self, wait_s: float) -> list[Message]:
        """See `Channel`."""
        inbox = self._inbox
        found: list[Message] = []
        if wait_s > 0 and inbox.empty() and not self.closed:
            try:
                self._keep(inbox.get(timeout=wait_s), found)
            except queue.Empty:
                return found
        while not inbox.empty():
            self._keep(inbox.get_nowait(), found)
        return found

    def send(self, delivery: Delivery) -> None:
        """See `Channel`. Where the loop has ended, nobody waits."""
        loop = self.loop
        if loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it closed just now
                loop.call_soon_threadsafe(self._deliver, delivery)

    def close(self) -> None:
        """See `Channel`."""
        self._inbox.put(None)

    def _keep(self, message: Message | None, found: list[Message]) -> None:
        if message is None:
            self.closed = True
        else:
            found.append(message)


def gather(channel: Channel, found: list[Message], enough: int, lull_s: float, most_s: float) -> None:
    """Into `found`, what comes until nothing has for `lull_s`, there are `enough`, or `most_s` are over."""
    end_s = perf_counter() + most_s
    while len(found) < enough and not channel.closed and perf_counter() < end_s:
        more = channel.receive(lull_s)
        if not more:
            return
        found += more
