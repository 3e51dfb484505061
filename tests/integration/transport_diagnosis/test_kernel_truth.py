"""The kernel's answer about real channels between real processes matches what was really opened."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest

from perfguard_suites.transport import kernel_view
from perfguard_suites.transport.connect import KINDS, connect
from perfguard_suites.transport.diagnosis import observe
from perfguard_suites.transport.peer import peer, server_process
from perfguard_suites.transport.roundtrip import Client

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's tables are read on Linux")

TRUTH = {
    "naive-ipc": kernel_view.UNIX,
    "multipart-ipc": kernel_view.UNIX,
    "naive-tcp": kernel_view.TCP,
    "multipart-tcp": kernel_view.TCP,
    "shm": kernel_view.SHARED_MEMORY,
    "shm-zmq": kernel_view.SHARED_MEMORY,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_names_the_real_carrier(kind):
    """For every kind: the carrier that the traffic shows is the one that was opened, with evidence."""
    with peer(kind, capacity_bytes=64 << 20) as channel:
        in_use, resident = observe(Client(channel))
    assert in_use.carrier == TRUTH[kind], in_use.evidence
    assert in_use.evidence
    assert all(resident[who] > 1 << 20 for who in ("client", "server"))


def test_tcp_counters_hold_the_whole_payload():
    """The evidence for TCP is a counter that grew by at least the bytes sent and received."""
    with peer("multipart-tcp", capacity_bytes=64 << 20) as channel:
        in_use, _ = observe(Client(channel))
    (fact,) = in_use.evidence
    assert int(fact.split("grew by ")[1].split()[0]) >= in_use.payload_bytes == 64 << 20


def test_a_channel_that_calls_itself_ipc_and_is_tcp_is_found_out():
    """The kind in the endpoint is configuration: the kernel sees TCP whatever it says."""
    with server_process("naive-tcp", capacity_bytes=64 << 20) as server:
        disguised = "naive-ipc" + server.endpoint.removeprefix("naive-tcp")
        with contextlib.closing(connect(disguised, capacity_bytes=64 << 20)) as channel:
            assert channel.kind == "naive-ipc"
            in_use, _ = observe(Client(channel))
    assert in_use.carrier == kernel_view.TCP


def test_peers_are_found_from_sockets_alone():
    """Who is at the other end is known from inodes, without being told a process id."""
    with server_process("naive-ipc") as server, contextlib.closing(connect(server.endpoint)):
        assert server.pid in kernel_view.peer_pids(os.getpid())
