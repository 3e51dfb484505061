"""A real server process and a channel to it, as context managers that leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import IO

from perfguard_suites.transport.channel import Channel
from perfguard_suites.transport.connect import DEFAULT_CAPACITY_BYTES, connect
from perfguard_suites.transport.errors import ChannelUnavailable
from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US

_STOP_TIMEOUT_S = 2.0
_STDERR_BYTES = 4000


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server: its process and where to connect (`kind+address`)."""

    process: subprocess.Popen[bytes]
    endpoint: str

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self.process.pid


@contextlib.contextmanager
def server_process(
    kind: str,
    *,
    capacity_bytes: int = DEFAULT_CAPACITY_BYTES,
    spin_us: float = DEFAULT_SPIN_US,
    cpu: int | None = None,
    startup_timeout_s: float = 30.0,
) -> Iterator[ServerProcess]:
    """Start a server and end it: it exits by itself when its client is gone, and is killed if it does not.

    The server also dies with the thread that called this (PR_SET_PDEATHSIG).
    Raises `ChannelUnavailable` with the server's own words if it does not come up.
    """
    command = [
        sys.executable,
        "-m",
        "perfguard_suites.transport.server",
        "--kind",
        kind,
        "--capacity-bytes",
        str(capacity_bytes),
        "--spin-us",
        str(spin_us),
        "--parent",
        str(os.getpid()),
    ]
    if cpu is not None:
        command += ["--cpu", str(cpu)]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        try:
            endpoint = _read_endpoint(process, startup_timeout_s, complaints)
            yield ServerProcess(process, endpoint)
        finally:
            _end(process)


@contextlib.contextmanager
def peer(
    kind: str,
    *,
    capacity_bytes: int = DEFAULT_CAPACITY_BYTES,
    spin_us: float = DEFAULT_SPIN_US,
    cpu: int | None = None,
    startup_timeout_s: float = 30.0,
) -> Iterator[Channel]:
    """A connected channel to a fresh server process (see `server.Handlers` for what it answers).

    Raises `ChannelUnavailable` if the server does not come up or does not shake hands.
    """
    with server_process(
        kind, capacity_bytes=capacity_bytes, spin_us=spin_us, cpu=cpu, startup_timeout_s=startup_timeout_s
    ) as server:
        channel = connect(server.endpoint, capacity_bytes=capacity_bytes, spin_us=spin_us, timeout_s=startup_timeout_s)
        try:
            yield channel
        finally:
            channel.close()


def _read_endpoint(process: subprocess.Popen[bytes], timeout_s: float, complaints: IO[bytes]) -> str:
    deadline_s = perf_counter() + timeout_s
    line = b""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left_s = deadline_s - perf_counter()
            if left_s <= 0 or not selector.select(left_s):
                raise _no_server(process, f"did not start within {timeout_s} s", complaints)
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                raise _no_server(process, "ended before it was ready", complaints)
            line += chunk
    try:
        return str(json.loads(line)["endpoint"])
    except (ValueError, KeyError, TypeError) as error:
        raise _no_server(process, f"printed {line!r:.200} instead of its endpoint", complaints) from error


def _no_server(process: subprocess.Popen[bytes], problem: str, complaints: IO[bytes]) -> ChannelUnavailable:
    complaints.seek(max(complaints.seek(0, os.SEEK_END) - _STDERR_BYTES, 0))
    said = complaints.read().decode(errors="replace").strip()
    return ChannelUnavailable(f"server process {process.pid}", problem, f"it said: {said or 'nothing'}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its client has gone, so that it is on its way out; kill it if not."""
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()
