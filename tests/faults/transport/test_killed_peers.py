"""SIGKILL of either side: the other gets an error, nothing arrives torn, nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import psutil
import pytest

from perfguard_suites.transport import shm_region
from perfguard_suites.transport.channel import Message
from perfguard_suites.transport.connect import KINDS, SHARED_KINDS, connect
from perfguard_suites.transport.errors import PeerDied
from perfguard_suites.transport.kill_test import leftovers, run_kills
from perfguard_suites.transport.peer import server_process

KILLS = int(os.environ.get("PERFGUARD_TEST_KILLS", "12"))
KINDS_HERE = [kind for kind in KINDS if kind not in SHARED_KINDS or shm_region.available()]


def test_kills_at_random_moments_leave_a_clear_error_and_nothing_else() -> None:
    """Either side of every kind, killed at seeded moments: each death noticed, no torn message, nothing left.

    `PERFGUARD_TEST_KILLS=60` for the long form.
    """
    report = run_kills(KILLS, kinds=KINDS_HERE, seed=2)
    assert len(report.notice_ms) == KILLS
    assert report.torn == 0
    assert report.left_behind == []


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_a_peer_killed_while_nothing_happens_is_noticed_by_send_and_recv(kind: str) -> None:
    """The survivor's next wait is PeerDied; its next calls as well: no call hangs afterwards."""
    with server_process(kind, capacity_bytes=1 << 20) as server:
        channel = connect(server.endpoint, capacity_bytes=1 << 20)
        server.process.kill()
        server.process.wait()
        for _ in range(2):
            with pytest.raises(PeerDied):
                channel.recv(timeout_s=5)
        with contextlib.suppress(PeerDied):  # what nobody reads can still be written
            channel.send(Message("echo"), timeout_s=5)
        with pytest.raises(PeerDied):
            channel.recv(timeout_s=5)
        channel.close()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
@pytest.mark.parametrize("kind", KINDS_HERE)
def test_a_killed_parent_leaves_no_server(kind: str) -> None:
    """A test process that is killed takes its server with it, and no socket or memory stays."""
    before = leftovers()
    program = (
        "import sys, time\n"
        "from perfguard_suites.transport.peer import server_process\n"
        f"with server_process({kind!r}, capacity_bytes=1 << 20) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        try:
            server.wait(10)
        except psutil.TimeoutExpired:
            assert server.status() == psutil.STATUS_ZOMBIE  # dead; who adopted it has not reaped it yet
    assert leftovers() <= before
