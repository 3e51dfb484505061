"""A real server process and a channel to it, as context managers that leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from perfguard_suites.child import NotReadyError, first_words
from perfguard_suites.transport.channel import Channel
from perfguard_suites.transport.connect import DEFAULT_CAPACITY_BYTES, connect
from perfguard_suites.transport.errors import ChannelUnavailable
from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US

_STOP_TIMEOUT_S = 2.0


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
            try:
                endpoint = str(first_words(process, "endpoint", startup_timeout_s, complaints))
            except NotReadyError as error:
                raise ChannelUnavailable(f"server process {process.pid}", error.problem, error.said) from error
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
