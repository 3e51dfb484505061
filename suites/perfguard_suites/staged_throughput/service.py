"""The stack as a server: a front end on a port, and the scheduler in the thread that drives it."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from perfguard_suites.staged_throughput.errors import ServiceFailed
from perfguard_suites.staged_throughput.front_end import KINDS, front_end
from perfguard_suites.staged_throughput.schedule import Replay
from perfguard_suites.staged_throughput.scheduler import Scheduler
from perfguard_suites.staged_throughput.stack import Stack
from perfguard_suites.staged_throughput.web_server import DRAIN_TIMEOUT_S

LOOPBACK = "127.0.0.1"
# Requests of one moment come over several connections, one after the other: so long an idle engine waits for the next.
GATHER_S = 1e-3


class Service:
    """A stack bound to a port, not running yet. `port`: 0 for any free one; `front`: where the event loop runs."""

    def __init__(
        self,
        stack: Stack,
        model: str,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        max_queue: int = 256,
        front: str = KINDS[0],
        gather_s: float = GATHER_S,
    ) -> None:
        self.stack, self.model, self.max_queue, self.gather_s = stack, model, max_queue, gather_s
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family, backlog=2048)
        except OSError as error:
            raise ServiceFailed(f"{host}:{port}", f"cannot be bound: {error}", "choose another port") from error
        self.host, self.port = listener.getsockname()[:2]
        self.front = front_end(front, stack, model, listener, max_queue)
        self.scheduler = self.renew()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://{self.host}:{self.port}/v1"

    def renew(self, replay: Replay | None = None) -> Scheduler:
        """A fresh scheduler on the same channel, for a run of its own; the one before must be idle."""
        self.scheduler = self.stack.scheduler(self.front.channel, max_queue=self.max_queue, replay=replay)
        self.scheduler.gather_s = self.gather_s
        self.front.serve(self.scheduler)
        return self.scheduler

    def run(self, on_start: Callable[[], object] = lambda: None) -> None:
        """Serve in this thread, the main one, until SIGTERM or SIGINT, then drain: what was let in is answered.

        `on_start` is called when requests are. Raises `ServiceFailed` where the front end ended by itself.
        """

        def drain(_number: int, _frame: FrameType | None) -> None:
            self.front.drain()

        before = {number: signal.signal(number, drain) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.front.start()
            on_start()
            self.scheduler.serve()
        finally:
            self.front.drain()
            self.front.join()
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """The front end beside this thread, in which the scheduler is to be driven."""
        try:
            self.front.start()
            yield
        finally:
            self.front.drain()
            self.front.join()

    @contextlib.contextmanager
    def threaded(self) -> Iterator[None]:
        """The scheduler in a thread as well; at the end, what was let in is answered first."""
        scheduler = threading.Thread(target=self.scheduler.serve, name="scheduler", daemon=True)
        with self.beside():
            scheduler.start()
            try:
                yield
            finally:
                self.front.drain()
                scheduler.join(DRAIN_TIMEOUT_S)
