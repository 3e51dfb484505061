"""Kill one side at random moments and see what the other side and the machine notice.

`python -m perfguard_suites.transport.kill_test --kills 60` prints how soon each death was noticed, whether any
message arrived torn, and whatever was left behind (processes, sockets, files, shared memory).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil

from perfguard_suites.transport.channel import Channel, Message
from perfguard_suites.transport.connect import KINDS, connect
from perfguard_suites.transport.errors import ChannelUnavailable, PeerDied
from perfguard_suites.transport.peer import server_process
from perfguard_suites.transport.roundtrip import Client
from perfguard_suites.transport.server import CLIENT_GONE, die_with_parent
from perfguard_suites.transport.zmq_link import PRIVATE_PREFIX

_CAPACITY_BYTES = 8 * 1024 * 1024
_LONGEST_BEFORE_KILL_S = 0.05
_GIVE_UP_S = 5.0
# Sizes that are inlined, leased, and large enough to be killed in the middle of a copy.
_SIZES = (0, 16, 3000, 200_000, 700_000)


@dataclass(slots=True)
class KillReport:
    """What came of the kills. `notice_ms`: from the kill to the survivor's error."""

    notice_ms: list[float] = field(default_factory=list)
    torn: int = 0
    left_behind: list[str] = field(default_factory=list)
    messages: int = 0


def run_kills(
    kills: int, *, kinds: Sequence[str] = KINDS, seed: int = 0, victims: Sequence[str] = ("server", "client")
) -> KillReport:
    """Kill each kind and side in turn, `kills` times in all, at moments drawn with `seed`."""
    generator = random.Random(seed)
    report = KillReport()
    before = leftovers()
    pairs = [(kind, victim) for victim in victims for kind in kinds]
    for number in range(kills):
        kind, victim = pairs[number % len(pairs)]
        delay_s = generator.uniform(0, _LONGEST_BEFORE_KILL_S)
        (kill_server if victim == "server" else kill_client)(kind, delay_s, report)
    report.left_behind += sorted(leftovers() - before)
    return report


def kill_server(kind: str, delay_s: float, report: KillReport) -> None:
    """Call in a loop, have the server killed meanwhile, and time the error."""
    with server_process(kind, capacity_bytes=_CAPACITY_BYTES) as server:
        killed_s: list[float] = []

        def kill() -> None:
            killed_s.append(perf_counter())
            server.process.kill()

        timer = threading.Timer(delay_s, kill)
        timer.start()
        try:
            with contextlib.suppress(ChannelUnavailable):  # killed before or during the handshake
                channel = connect(server.endpoint, capacity_bytes=_CAPACITY_BYTES)
                with contextlib.closing(channel):
                    _call_until_death(channel, report)
            report.notice_ms.append((perf_counter() - killed_s[0]) * 1e3)
        finally:
            timer.join()
        if server.process.wait(_GIVE_UP_S) != -signal.SIGKILL:
            report.left_behind.append(f"server {server.pid} was not killed")


def _call_until_death(channel: Channel, report: KillReport) -> None:
    client = Client(channel)
    for number in range(1_000_000):
        sent = np.full(_SIZES[number % len(_SIZES)], number % 251, np.float32)
        try:
            reply = client.call(Message("echo", (sent,)), _GIVE_UP_S).reply
        except PeerDied:
            return
        report.messages += 1
        report.torn += not np.array_equal(reply.tensors[0], sent)


def kill_client(kind: str, delay_s: float, report: KillReport) -> None:
    """Have a client process killed in the middle of its calls: its server must end by itself, and soon."""
    with server_process(kind, capacity_bytes=_CAPACITY_BYTES) as server, _client_process(server.endpoint) as client:
        assert client.stdout is not None
        client.stdout.readline()  # it is in its loop
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(delay_s)
        client.kill()
        killed_s = perf_counter()
        assert server.process.stdout is not None
        said = select.select([server.process.stdout], [], [], _GIVE_UP_S)[0]
        report.notice_ms.append((perf_counter() - killed_s) * 1e3)
        if not said or CLIENT_GONE.encode() not in os.read(server.process.stdout.fileno(), 4096):
            report.left_behind.append(f"server {server.pid} did not notice its client's death")
        server.process.wait(_GIVE_UP_S)


@contextlib.contextmanager
def _client_process(endpoint: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "perfguard_suites.transport.kill_test",
        "--client",
        endpoint,
        "--parent",
        str(os.getpid()),
    ]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def leftovers() -> frozenset[str]:
    """What killed peers could leave: children, orphaned servers, shared memory, our own sockets and directories.

    Other runs on the same machine are left out of it: what their living processes hold is theirs.
    """
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    found = {f"process {child.pid}" for child in tree[1:] if _is_running(child)}
    found |= {
        f"orphan {process.pid}"
        for process in psutil.process_iter(["cmdline"])
        if _is_orphan(process.info["cmdline"] or [])
    }
    for process in tree:
        with contextlib.suppress(psutil.Error):
            found |= {
                f"socket {connection.laddr}"
                for connection in process.net_connections("unix")
                if "perfguard-" in str(connection.laddr)
            }
    shared = Path("/dev/shm")  # noqa: S108 - looked at, not written to
    if shared.is_dir():
        found |= {f"shared memory {path.name}" for path in shared.iterdir()}
    return frozenset(found | {f"directory {path}" for path in Path(tempfile.gettempdir()).glob(f"{PRIVATE_PREFIX}*")})


def _is_running(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _is_orphan(command: Sequence[str]) -> bool:
    """Whether that is a server or client of ours whose parent has gone."""
    ours = any(part.startswith("perfguard_suites.transport.") for part in command)
    return ours and "--parent" in command and not psutil.pid_exists(int(command[command.index("--parent") + 1]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill and report; exit 1 if anything was torn or left."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.transport.kill_test", description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--client", default="", help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.client:
        die_with_parent(options.parent)
        channel = connect(options.client, capacity_bytes=_CAPACITY_BYTES)
        print("calling", flush=True)
        _call_until_death(channel, KillReport())
        return 0
    for kind in options.kind or KINDS:
        report = run_kills(max(options.kills // len(options.kind or KINDS), 1), kinds=(kind,), seed=options.seed)
        notices = sorted(report.notice_ms)
        print(
            f"{kind:14s} {len(notices)} kills noticed, ms: median {notices[len(notices) // 2]:.1f}, "
            f"longest {notices[-1]:.1f}; {report.messages} messages checked, {report.torn} torn; "
            f"left behind: {', '.join(report.left_behind) or 'nothing'}",
            flush=True,
        )
        if report.torn or report.left_behind:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
