"""Where the event loop of stages 6 and 7 runs: in a thread beside the scheduler's, or in a process of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Protocol

from perfguard_suites.staged_throughput.channel import Channel, LoopChannel
from perfguard_suites.staged_throughput.errors import ServiceFailed
from perfguard_suites.staged_throughput.gauges import Board
from perfguard_suites.staged_throughput.http_app import HttpServer
from perfguard_suites.staged_throughput.process_channel import ProcessChannel
from perfguard_suites.staged_throughput.scheduler import Scheduler
from perfguard_suites.staged_throughput.stack import Stack
from perfguard_suites.staged_throughput.web_server import DRAIN_TIMEOUT_S, WebServer, report_of

KINDS = ("process", "thread")
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 10.0
POLL_S = 0.05


class FrontEnd(Protocol):
    """A front end over a listening socket; not running before `start`. `channel`: to it, for whoever schedules."""

    @property
    def channel(self) -> Channel:
        """Where its requests come from."""

    def serve(self, scheduler: Scheduler) -> None:
        """From now on for this scheduler; the one before is idle."""

    def start(self) -> None:
        """Start it, and return when it answers. Raises `ServiceFailed`."""

    def drain(self) -> None:
        """Ask it to take nothing more, to answer what was let in, and to end. Returns at once."""

    def join(self) -> None:
        """Wait until it has ended and give everything back; idempotent. Raises `ServiceFailed` where it broke off."""

    def report(self) -> Mapping[str, Any]:
        """What it has counted, see `web_server.report_of`; while nobody schedules."""


class ThreadFront:
    """The event loop in a thread of the scheduler's process: nothing to send, and one interpreter's lock for both."""

    def __init__(self, stack: Stack, model: str, listener: socket.socket) -> None:
        self.endpoint = stack.endpoint(model)
        self.channel = LoopChannel(self.endpoint.deliver)
        self.http = HttpServer(self.endpoint)
        self._listener = listener
        self._server = WebServer(self.http, self._begun, lambda: None)
        self._thread = threading.Thread(target=self._run, name="event loop", daemon=True)
        self._started = threading.Event()
        self._failed: list[BaseException] = []

    def serve(self, scheduler: Scheduler) -> None:
        """See `FrontEnd`."""
        self.channel.closed = False
        self.endpoint.scheduler = scheduler

    def start(self) -> None:
        """See `FrontEnd`."""
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S) or self._failed:
            raise ServiceFailed("front end", f"did not start: {self._failed.pop() if self._failed else 'timeout'}")

    def drain(self) -> None:
        """See `FrontEnd`."""
        self._server.should_exit = True

    def join(self) -> None:
        """See `FrontEnd`."""
        if self._thread.ident is not None:
            self._thread.join(DRAIN_TIMEOUT_S)
        self._listener.close()
        self.channel.close()
        if self._failed:
            raise ServiceFailed("front end", f"broke off: {self._failed.pop()}")

    def report(self) -> Mapping[str, Any]:
        """See `FrontEnd`."""

        async def read() -> float:
            return time.thread_time()

        assert self.channel.loop is not None
        cpu_s = asyncio.run_coroutine_threadsafe(read(), self.channel.loop).result(ANSWER_TIMEOUT_S)
        return report_of(self.endpoint, self.http, cpu_s)

    def _begun(self) -> None:
        self.channel.loop = asyncio.get_running_loop()
        self._started.set()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            self._failed.append(error)
            self._started.set()
        self.channel.close()


class ProcessFront:
    """The event loop in a process of its own, which inherits its files; either is told when the other has gone."""

    def __init__(self, stack: Stack, model: str, listener: socket.socket, max_queue: int) -> None:
        self.board = Board()
        (ours, theirs), (bell, their_bell) = socket.socketpair(), socket.socketpair()
        self._theirs = theirs, their_bell
        self.channel = ProcessChannel(ours, bell, self.board)
        self._listener = listener
        self._settings = {
            "tokenizer": stack.engine.tokenizer.recipe,
            "model": model,
            "context": stack.backend.capacity,
            "slots": stack.backend.slots,
            "max_queue": max_queue,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._disposed = self._told = False

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def serve(self, scheduler: Scheduler) -> None:
        """See `FrontEnd`."""
        self.channel.closed = self.channel.lost or self.channel.left
        self.channel.scheduler, scheduler.board = scheduler, self.board
        scheduler.count_from(self.board.read().left_queue)
        self.board.write(scheduler.gauges())

    def start(self) -> None:
        """See `FrontEnd`."""
        ends = {"listener": self._listener, "channel": self._theirs[0], "bell": self._theirs[1]}
        files = {name: each.fileno() for name, each in ends.items()} | {"board": self.board.fd}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "perfguard_suites.staged_throughput.front_process",
             json.dumps(self._settings | files)],
            stdin=subprocess.DEVNULL,
            pass_fds=list(files.values()),
        )  # fmt: skip
        # Kept open here, they would keep the port bound and the channel whole when the process has ended.
        for each in ends.values():
            each.close()
        self._until(lambda: self.channel.ready, START_TIMEOUT_S, "did not start")

    def drain(self) -> None:
        """See `FrontEnd`."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def join(self) -> None:
        """See `FrontEnd`."""
        if self._disposed:
            return
        self._disposed = True
        status = self._ended()
        for each in (self._listener, *self._theirs):
            each.close()
        self.channel.dispose()
        self.board.close()
        if not self._told and (self.channel.problem or (self.channel.lost and status)):
            raise ServiceFailed("front end", self.channel.problem or f"ended with status {status}")

    def report(self) -> Mapping[str, Any]:
        """See `FrontEnd`."""
        self.channel.reports.clear()
        self.channel.ask()
        self._until(lambda: bool(self.channel.reports), ANSWER_TIMEOUT_S, "did not say what it counted")
        return self.channel.reports[-1]

    def _until(self, reached: Any, timeout_s: float, problem: str) -> None:
        """Receive until something is reached. Raises `ServiceFailed`."""
        end_s = perf_counter() + timeout_s
        while not reached():
            self.channel.look(POLL_S)
            if self.channel.lost or perf_counter() > end_s:
                self.drain()
                status, self._told = self._ended(), True
                raise ServiceFailed("front end", f"{problem}: {self.channel.problem or f'status {status}'}")

    def _ended(self) -> int:
        """Its status, once it has ended; it is killed where it does not."""
        process = self._process
        if process is None:
            return 0
        try:
            return process.wait(DRAIN_TIMEOUT_S + ANSWER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(ANSWER_TIMEOUT_S)


def front_end(kind: str, stack: Stack, model: str, listener: socket.socket, max_queue: int) -> FrontEnd:
    """One of `KINDS`. Raises `ServiceFailed` for another."""
    if kind == "thread":
        return ThreadFront(stack, model, listener)
    if kind == "process":
        return ProcessFront(stack, model, listener, max_queue)
    raise ServiceFailed(f"front end {kind!r:.20}", "is unknown", f"one of {', '.join(KINDS)}")
