"""The stack as a server: the event loop in one thread, the scheduler in another, one channel between them."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn

from perfguard_suites.staged_throughput.channel import LoopChannel
from perfguard_suites.staged_throughput.errors import ServiceFailed
from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.http_app import HttpServer
from perfguard_suites.staged_throughput.schedule import Replay
from perfguard_suites.staged_throughput.scheduler import Scheduler
from perfguard_suites.staged_throughput.stack import Stack

START_TIMEOUT_S = 20.0
DRAIN_TIMEOUT_S = 30
LOOPBACK = "127.0.0.1"


class _Server(uvicorn.Server):
    """uvicorn, telling its loop to the channel, and the application that it is being stopped."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        import asyncio

        self._service.channel.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._service.started.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.http.draining = True
        await super().shutdown(sockets)


class Service:
    """A stack bound to a port, not running yet. `port`: 0 for any free one."""

    def __init__(self, stack: Stack, model: str, *, host: str = LOOPBACK, port: int = 0, max_queue: int = 256) -> None:
        self.stack, self.max_queue = stack, max_queue
        self.started = threading.Event()
        self.endpoint = GenerateEndpoint(stack.engine.tokenizer, model, stack.backend.capacity)
        self.channel = LoopChannel(self.endpoint.deliver)
        self.http = HttpServer(self.endpoint)
        self.scheduler = self.renew()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=2048)
        except OSError as error:
            raise ServiceFailed(f"{host}:{port}", f"cannot be bound: {error}", "choose another port") from error
        self.host, self.port = self._socket.getsockname()[:2]
        config = uvicorn.Config(
            self.http.app(),
            lifespan="off",
            ws="none",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
        )
        self.server = _Server(config, self)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://{self.host}:{self.port}/v1"

    def renew(self, replay: Replay | None = None) -> Scheduler:
        """A fresh scheduler on the same channel, for a run of its own; the one before must be idle."""
        self.channel.closed = False
        self.scheduler = self.stack.scheduler(self.channel, max_queue=self.max_queue, replay=replay)
        self.endpoint.scheduler = self.scheduler
        return self.scheduler

    def run(self) -> None:
        """Serve in this thread until SIGTERM or SIGINT, then drain: what was let in is answered to its end."""
        # uvicorn drains at SIGTERM and then raises it again, for whom it interrupted: here, nobody.
        before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        thread = threading.Thread(target=self.scheduler.serve, name="scheduler", daemon=True)
        thread.start()
        try:
            self.server.run(sockets=[self._socket])
        finally:
            signal.signal(signal.SIGTERM, before)
            self._socket.close()
            self.channel.close()
            thread.join(DRAIN_TIMEOUT_S)

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """The event loop in a thread beside this one, in which the scheduler is to be driven."""
        failed: list[BaseException] = []
        thread = threading.Thread(target=self._serve_loop, args=(failed,), name="event loop", daemon=True)
        thread.start()
        try:
            if not self.started.wait(START_TIMEOUT_S) or failed:
                raise ServiceFailed(self.url, f"the server did not start: {failed[0] if failed else 'timeout'}")
            yield
        finally:
            self.server.should_exit = True
            thread.join(DRAIN_TIMEOUT_S)
            self._socket.close()

    def _serve_loop(self, failed: list[BaseException]) -> None:
        try:
            self.server.run(sockets=[self._socket])
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            failed.append(error)
            self.started.set()

    @contextlib.contextmanager
    def threaded(self) -> Iterator[None]:
        """Event loop and scheduler each in a thread of its own; at the end, what was let in is answered first."""
        scheduler = threading.Thread(target=self.scheduler.serve, name="scheduler", daemon=True)
        scheduler.start()
        try:
            with self.beside():
                yield
        finally:
            self.channel.close()
            scheduler.join(DRAIN_TIMEOUT_S)
