"""The operating system's own blocking ping-pong between two processes: what any transport's wake-up is measured by.

`python -m perfguard_suites.transport.bare seqpacket FD [FD]` is the other process: it sends back what it reads.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from perfguard_suites.transport.errors import ChannelUnavailable, PeerDied
from perfguard_suites.transport.server import die_with_parent

BARE_KINDS = ("seqpacket", "pipe")
BARE_BYTES = 64


@contextlib.contextmanager
def ping_pong(kind: str, *, cpu: int | None = None) -> Iterator[Callable[[], None]]:
    """A callable that sends 64 bytes to a child process and waits for them to come back.

    `seqpacket`: a UNIX socket pair; `pipe`: two pipes. Raises `PeerDied` if the child goes.
    """
    if kind not in BARE_KINDS:
        raise ChannelUnavailable(f"kind {kind!r}", "is none", f"one of {', '.join(BARE_KINDS)}")
    ours, theirs = _ends(kind)
    command = [
        sys.executable,
        "-m",
        "perfguard_suites.transport.bare",
        str(os.getpid()),
        "-" if cpu is None else str(cpu),
        *map(str, theirs),
    ]
    payload = bytes(BARE_BYTES)
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=theirs)
    finally:
        for descriptor in set(theirs):
            os.close(descriptor)
    read_from, write_to = ours[0], ours[-1]

    def trip() -> None:
        os.write(write_to, payload)
        if len(os.read(read_from, BARE_BYTES)) != BARE_BYTES:
            raise PeerDied(f"bare {kind}", "the child process ended")

    try:
        trip()  # the child is up
        yield trip
    finally:
        for descriptor in set(ours):
            os.close(descriptor)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ends(kind: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if kind == "pipe":
        (read_1, write_1), (read_2, write_2) = os.pipe(), os.pipe()
        return (read_1, write_2), (read_2, write_1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return (ours.detach(),), (theirs.detach(),)


def main(arguments: Sequence[str]) -> int:
    """Send back what arrives on the first descriptor by the last, until end of file."""
    parent, cpu, *descriptors = arguments
    die_with_parent(int(parent))
    if cpu != "-":
        os.sched_setaffinity(0, {int(cpu)})
    read_from, write_to = int(descriptors[0]), int(descriptors[-1])
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        while data := os.read(read_from, BARE_BYTES):
            os.write(write_to, data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
