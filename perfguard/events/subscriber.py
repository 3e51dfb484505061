"""The viewer's end of a live run: everything from its first event on, in order, each exactly once.

It listens to the live socket first and asks the second one for what came before; the numbers (`seq`) join the
two. What the live socket drops is asked for again, so a gap remains only where the run died or shed events.
Knows neither pytest nor any user interface.
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from typing import TYPE_CHECKING, Literal

import zmq
from zmq.utils.monitor import recv_monitor_message

from perfguard.errors import EndpointError, EventError
from perfguard.events.protocol import (
    CHUNK_BYTES,
    Header,
    Request,
    pack_request,
    unpack_answer,
)
from perfguard.events.rounds import Item, Rounds, decode, events_in, numbers_of, producer_of
from perfguard.events.runtime_dir import Endpoint, newest_endpoint, parse_endpoint
from perfguard.events.schema import MAX_FRAME_BYTES, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

State = Literal["connecting", "live", "finished", "lost"]

ASK_AGAIN_S = 1.0
_ASK_AT_LAST_S = 8.0  # of a run that has been silent for longer
_BATCH_EVENTS = 1000  # at once: more would be shown later than they could be
_AHEAD_EVENTS = 20_000
_LIVE_QUEUE_FRAMES = 5000  # a quarter of a second of single events at 20,000 a second: a viewer that draws reads late
_STEP_S = 0.05


class Subscriber:
    """Attached to one producer of one run. One thread uses it at a time; `close` it, or use it in `with`.

    `interrupt` alone is for any thread.

    `state`: `live`; then `finished` (the run took its leave, or it ended after `run_finished`) or `lost` (the
    producer is gone without a word). `gaps` counts events that can never come, `shed` those that the run had
    to forget, `bad` frames that were not this run's events, `duplicates` those that came twice. `behind`: whether more
    had come than the last `take` gave.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint.live
        self.state: State = "connecting"
        self.run: str | None = None
        self.src: str | None = None
        self.gaps = self.shed = self.bad = self.duplicates = 0
        self.behind = False
        self._next_seq = 0
        self._head = 0
        self._run_finished = False
        self._ready: list[Item] = []
        self._ahead: dict[int, Item] = {}  # came before their turn, by their first number
        self._ahead_events = 0
        self._asked = False  # whether a question is open
        self._asked_s = self._heard_s = time.monotonic()
        self._silent_s = ASK_AGAIN_S  # how long a silence makes it ask whether there is more
        self._interrupted = False
        self._context = zmq.Context()
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        try:
            self._open(endpoint)
        except BaseException:
            self._destroy(linger=0)
            raise

    @classmethod
    def attach(
        cls,
        endpoint: str | None = None,
        timeout_s: float = 10.0,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Subscriber:
        """A subscriber that has reached a run: the one at `endpoint`, or this user's newest.

        Raises `EndpointError` if none answers within `timeout_s` or before `cancelled()`, which is asked a few
        times a second; or if the endpoint is not a safe one.
        """
        deadline_s = time.monotonic() + timeout_s
        place = newest_endpoint() if endpoint is None else parse_endpoint(endpoint)
        while place is None:
            if time.monotonic() > deadline_s or cancelled():
                raise EndpointError(
                    "live runs", f"none appeared within {timeout_s:g} s", "start one: pytest --perfguard-live"
                )
            time.sleep(_STEP_S)
            place = newest_endpoint()
        subscriber = cls(place)
        try:
            while subscriber.state == "connecting" and time.monotonic() < deadline_s and not cancelled():
                subscriber._step(_STEP_S)
        except BaseException:
            subscriber.close()
            raise
        if subscriber.state == "connecting":
            subscriber.close()
            raise EndpointError(
                subscriber.endpoint,
                f"no perfguard run answers there within {timeout_s:g} s",
                "is it still running? leave the endpoint out for this user's newest run",
            )
        return subscriber

    def poll(self, timeout_s: float) -> list[Event]:
        """The events that have come, in order, waiting up to `timeout_s` for the first.

        An empty list is no end: that is when `state` is `finished` or `lost` and nothing is left to give.
        """
        return list(events_in(self.take(timeout_s)))

    def take(self, timeout_s: float) -> list[Item]:
        """The same events as they came: single ones, and many rounds at once."""
        deadline_s = time.monotonic() + timeout_s
        while not self._ready and not self.over:
            left_s = deadline_s - time.monotonic()
            step_s = _STEP_S if self._asked or self._ahead else self._silent_s  # what comes ends a step at once
            self._step(max(0.0, min(step_s, left_s)))
            if self._interrupted or time.monotonic() >= deadline_s:
                break
        items, self._ready = self._ready, []
        return items

    @property
    def over(self) -> bool:
        """Whether no further events can come."""
        return self.state in ("finished", "lost")

    def interrupt(self) -> None:
        """From any thread: let a `take` or `poll` that waits return at once, and every later one not wait."""
        with contextlib.suppress(OSError):  # it is closed, or has been told
            self._wake.send(b"\0")

    def __iter__(self) -> Iterator[Event]:
        """All events until the run is over or lost."""
        while True:
            events = self.poll(1.0)
            yield from events
            if not events and self.over:
                return

    def close(self) -> None:
        """Leave; idempotent."""
        if not self._context.closed:
            if self.state == "live":
                self._send(Request("bye", self._next_seq))
            self._live.disable_monitor()
            self._destroy(linger=100)

    def _destroy(self, linger: int) -> None:
        self._context.destroy(linger=linger)
        self._woken.close()
        self._wake.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, endpoint: Endpoint) -> None:
        self._live, self._ask = self._context.socket(zmq.SUB), self._context.socket(zmq.DEALER)
        for socket_ in (self._live, self._ask):
            socket_.setsockopt(zmq.IPV6, 1)
            socket_.setsockopt(zmq.RECONNECT_IVL, 10)
        self._live.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._live.setsockopt(zmq.RCVHWM, _LIVE_QUEUE_FRAMES)
        self._ask.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES + CHUNK_BYTES)
        self._ask.setsockopt(zmq.SNDHWM, 8)
        self._ask.setsockopt(zmq.RCVHWM, 8)
        self._live.subscribe(b"")
        self._monitor = self._live.get_monitor_socket(zmq.Event.DISCONNECTED)
        self._live.connect(endpoint.live)
        self._ask.connect(endpoint.ask)
        self._poller = zmq.Poller()
        for socket_ in (self._live, self._ask, self._monitor):
            self._poller.register(socket_, zmq.POLLIN)
        self._poller.register(self._woken, zmq.POLLIN)
        self._send(Request("since", 0))

    def _step(self, timeout_s: float) -> None:
        """Wait for something to come, take it, and ask for what is missing."""
        ready = dict(self._poller.poll(math.ceil(timeout_s * 1000)))
        self._interrupted = self._interrupted or self._woken.fileno() in ready
        if self._monitor in ready:
            # Taken first, acted on last: what the producer sent before it went is still in the sockets.
            recv_monitor_message(self._monitor, zmq.NOBLOCK)
        if self._monitor in ready:
            self._take_live(math.inf, math.inf)  # nothing can be asked for any more
        elif self._live in ready:
            self._take_live()
        came = self._ask in ready or self._monitor in ready
        while came and not self.over and self._ask.poll(0):
            self._take_answer()
        if self.state != "live":
            pass
        elif self._monitor in ready:
            self._end()
        elif self._asked or self._ahead:
            wait_s = ASK_AGAIN_S if self._asked else _STEP_S
            if time.monotonic() - self._asked_s > wait_s:
                self._send(Request("since", self._next_seq))
        elif time.monotonic() - self._heard_s > self._silent_s:  # the last live events may have been dropped
            self._send(Request("since", self._next_seq))
            self._silent_s = min(2 * self._silent_s, _ASK_AT_LAST_S)

    def _take_live(self, most_events: float = _BATCH_EVENTS, most_ahead: float = _AHEAD_EVENTS) -> None:
        taken = 0
        self.behind = True
        while taken < most_events:
            try:
                # Whether a message goes on is not asked, which takes six times as long: each part counts as one.
                frame = self._live.recv(zmq.NOBLOCK)
            except zmq.Again:
                self.behind = False
                return
            taken += 1
            self._heard_s, self._silent_s = time.monotonic(), ASK_AGAIN_S
            item = self._item(frame)
            if item is None:
                continue
            if self.state == "live" and not isinstance(item, Rounds) and item["seq"] == self._next_seq:
                self._deliver(item)  # the common case of single events, in fewer steps
                self._deliver_ahead()
                continue
            seq, end = numbers_of(item)
            taken += end - seq - 1
            if end <= self._next_seq or seq in self._ahead:
                self.duplicates += end - seq
            elif self.state == "live" and seq <= self._next_seq:
                self.duplicates += self._next_seq - seq
                self._deliver(item)
                self._deliver_ahead()
            elif self._ahead_events < most_ahead:  # else it will be asked for
                self._keep_ahead(item)

    def _keep_ahead(self, item: Item) -> None:
        seq, end = numbers_of(item)
        self._ahead[seq] = item
        self._ahead_events += end - seq

    def _take_answer(self) -> None:
        parts = self._ask.recv_multipart(zmq.NOBLOCK)
        try:
            header, frames = unpack_answer(parts)
        except EventError:
            self.bad += 1
            return
        if self.run is not None and (header.run, header.src) != (self.run, self.src):
            self.bad += 1
            return
        self._asked = False
        self._heard_s = time.monotonic()
        if self.state == "connecting":
            self._begin(header)
        for frame in frames:
            self._silent_s = ASK_AGAIN_S
            item = self._item(frame)
            if item is None:
                continue
            if numbers_of(item)[0] > self._next_seq:
                self._skip_to(numbers_of(item)[0])
            self._deliver(item)
        self._skip_to(header.next_seq)
        self._deliver_ahead()
        self._head = max(self._head, header.head)
        if self._next_seq < self._head:
            self._send(Request("since", self._next_seq))
        elif header.closing:
            self._send(Request("bye", self._next_seq))
            self._end(left=True)

    def _begin(self, header: Header) -> None:
        self.run, self.src, self.state = header.run, header.src, "live"
        early, self._ahead, self._ahead_events = self._ahead, {}, 0
        for item in early.values():
            if producer_of(item) == (self.run, self.src):
                self._keep_ahead(item)
            else:
                self.bad += 1

    def _item(self, frame: bytes) -> Item | None:
        """What is in the frame if it is of this run, else None, counted."""
        try:
            item = decode(frame)
        except EventError:
            self.bad += 1
            return None
        if self.run is not None and producer_of(item) != (self.run, self.src):
            self.bad += 1
            return None
        return item

    def _deliver(self, item: Item) -> None:
        """Give what of it is new."""
        seq, end = numbers_of(item)
        if self._ahead:
            ahead = self._ahead.pop(seq, None)  # an answer may bring what also came live
            if ahead is not None:
                self._ahead_events -= numbers_of(ahead)[1] - seq
        if end <= self._next_seq:
            return
        if isinstance(item, Rounds):
            item = item.part(max(0, self._next_seq - seq), len(item))
        else:
            self._run_finished = self._run_finished or item["kind"] == "run_finished"
        self._ready.append(item)
        self._next_seq = end

    def _deliver_ahead(self) -> None:
        while self._ahead and (item := self._ahead.get(self._next_seq)) is not None:
            self._deliver(item)

    def _skip_to(self, seq: int) -> None:
        """The run has nothing below `seq`: give what came live, count the rest as shed."""
        self.shed += self._give_ahead_below(seq)
        self._next_seq = max(self._next_seq, seq)

    def _give_ahead_below(self, seq: int) -> int:
        """Deliver what waits below `seq`, in order; returns how many numbers below it never came."""
        missing = 0
        for number in sorted(number for number in self._ahead if number < seq):
            missing += max(0, number - self._next_seq)
            self._deliver(self._ahead[number])
        return missing + max(0, seq - self._next_seq)

    def _end(self, *, left: bool = False) -> None:
        """The producer is gone: give what is there, count what is not."""
        self._head = max([self._head, *(numbers_of(item)[1] for item in self._ahead.values())])
        self.gaps += self._give_ahead_below(self._head)
        self.state = "finished" if left or self._run_finished else "lost"

    def _send(self, request: Request) -> None:
        try:
            self._ask.send(pack_request(request), zmq.NOBLOCK)
        except zmq.Again:
            return  # earlier questions are still on their way
        self._asked, self._asked_s = True, time.monotonic()
