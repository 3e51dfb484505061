"""The server as a process of its own: started, asked how it is, restarted and ended, leaving nothing behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from perfguard_suites.child import NotReadyError, first_words
from perfguard_suites.split_rpc.client import RpcClient
from perfguard_suites.split_rpc.errors import ServerFailed
from perfguard_suites.split_rpc.server import ModelSource
from perfguard_suites.split_rpc.threads import child_environment
from perfguard_suites.transport.channel import Scalar
from perfguard_suites.transport.connect import DEFAULT_CAPACITY_BYTES, connect
from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US

_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to start a server. `threads` 0: torch's own choice."""

    source: ModelSource
    kinds: tuple[str, ...] = ("shm",)
    capacity_bytes: int = DEFAULT_CAPACITY_BYTES
    spin_us: float = DEFAULT_SPIN_US
    device: str = "auto"
    threads: int = 0
    allow_faults: bool = False
    startup_timeout_s: float = 120.0

    def command(self) -> list[str]:
        """The command line."""
        kinds = [word for kind in self.kinds for word in ("--kind", kind)]
        numbers = ["--capacity-bytes", str(self.capacity_bytes), "--spin-us", str(self.spin_us)]
        fault = ["--allow-faults"] if self.allow_faults else []
        place = ["--device", self.device, "--threads", str(self.threads), "--parent", str(os.getpid())]
        module = [sys.executable, "-m", "perfguard_suites.split_rpc", "serve"]
        return [*module, *self.source.arguments(), *kinds, *numbers, *place, *fault]


class SplitServer:
    """A running server process. Use `running`, or `start` and `stop`; `restart` gives a fresh process.

    Raises `ServerFailed` with the server's own words when it does not come up.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoints: Mapping[str, str] = {}
        self._clients: list[RpcClient] = []

    def start(self) -> None:
        """Start the process and wait for its endpoints."""
        if self._process is not None:
            raise ServerFailed(f"server process {self._process.pid}", "is running already", "stop or restart it")
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                self.settings.command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=child_environment(),
            )
            try:
                said = _endpoints_of(process, self.settings.startup_timeout_s, complaints)
            except BaseException:
                _kill(process)
                raise
        self._process = process
        self._endpoints = said

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process. Raises `ServerFailed` if none was started."""
        if self._process is None:
            raise ServerFailed("server", "is not running", "start it")
        return self._process

    def connect(self, kind: str, timeout_s: float = 30.0) -> RpcClient:
        """The client on this server's channel of that kind; one for each kind. The server's model is checked.

        Raises `ServerFailed` for a kind it does not listen on or for another model, and the channel's errors.
        """
        endpoint = self._endpoints.get(kind)
        if endpoint is None:
            raise ServerFailed(f"channel {kind!r}", "the server does not listen on it", "name it in `kinds`")
        settings = self.settings
        channel = connect(
            endpoint, capacity_bytes=settings.capacity_bytes, spin_us=settings.spin_us, timeout_s=timeout_s
        )
        client = RpcClient(channel)
        self._clients.append(client)
        check_health(client.health(timeout_s), settings.source.config().digest)
        return client

    def restart(self) -> None:
        """End this process, whatever it is doing, and start a fresh one; clients have to connect again."""
        self.stop(gently=False)
        self.start()

    def stop(self, *, gently: bool = True) -> None:
        """End the process: asked to where a client is connected and it is `gently`, else killed. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        if gently and self._clients and process.poll() is None:
            with contextlib.suppress(Exception):  # it is killed below if it does not want to
                self._clients[0].stop(_STOP_TIMEOUT_S)
                process.wait(_STOP_TIMEOUT_S)
        self.close_clients()
        _kill(process)

    def close_clients(self) -> None:
        """Close all channels; a server without clients leaves."""
        for client in self._clients:
            client.close()
        self._clients.clear()


@contextlib.contextmanager
def running(settings: ServerSettings) -> Iterator[SplitServer]:
    """A server that is there inside the block and gone after it."""
    server = SplitServer(settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def check_health(health: Mapping[str, Scalar], digest: str) -> None:
    """Raise `ServerFailed` unless the server holds the model of that digest."""
    if health.get("digest") != digest:
        raise ServerFailed(
            f"model {health.get('model')!r}",
            f"the server's configuration {health.get('digest')} is not the client's {digest}",
            "start both with the same model",
        )


def _endpoints_of(process: subprocess.Popen[bytes], timeout_s: float, complaints: IO[bytes]) -> dict[str, str]:
    culprit = f"server process {process.pid}"
    try:
        endpoints = first_words(process, "endpoints", timeout_s, complaints)
    except NotReadyError as error:
        raise ServerFailed(culprit, error.problem, error.said) from error
    if not isinstance(endpoints, dict):
        raise ServerFailed(culprit, f"printed {endpoints!r:.200} for its endpoints", "is it another program?")
    return {str(kind): str(endpoint) for kind, endpoint in endpoints.items()}


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
