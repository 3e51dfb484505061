"""The carrier is decided by evidence: counters that grew, queues that filled, mappings that hold the tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfguard_suites.transport import kernel_view, sock_diag
from perfguard_suites.transport.kernel_view import Connection, KernelView, SharedMapping, decide, shared_mappings
from perfguard_suites.transport.sock_diag import KernelSocket

MIB = 1 << 20
TCP = Connection(
    1,
    2,
    KernelSocket("tcp", "stream", "established", 7, "127.0.0.1:1", "127.0.0.1:2", sent_bytes=100, received_bytes=100),
    "127.0.0.1:2",
)
UNIX = Connection(1, 2, KernelSocket("unix", "stream", "established", 8, "", peer_inode=9), "@name")
REGION = SharedMapping("00:01", 5, "/memfd:region (deleted)", 4096, ((0x1000, 0x2000),))


def view(*connections, mappings=()):
    return KernelView(1, 2, tuple(connections), tuple(mappings))


def grown(size_bytes):
    return replace(
        TCP, socket=replace(TCP.socket, sent_bytes=100 + size_bytes // 2, received_bytes=100 + size_bytes // 2)
    )


def test_tcp_is_seen_in_its_counters():
    """A TCP connection whose counters grew by the payload carried it."""
    found = decide(view(TCP), view(grown(16 * MIB)), 16 * MIB)
    assert found.carrier == kernel_view.TCP
    assert f"grew by {16 * MIB} bytes" in found.evidence[0]


def test_an_idle_tcp_connection_carried_nothing():
    """A TCP connection beside a busy unix socket is not the carrier."""
    both = view(TCP, UNIX)
    assert decide(both, both, 16 * MIB, queue_peaks={9: 200_000}).carrier == kernel_view.UNIX


def test_tensors_inside_a_shared_mapping_mean_shared_memory():
    """All received tensors in a mapping that both processes have: shared memory, though a unix socket is there."""
    shared = view(UNIX, mappings=[REGION])
    assert decide(shared, shared, 16 * MIB, payload_addresses=[0x1000, 0x1FFF]).carrier == kernel_view.SHARED_MEMORY


def test_a_mapping_that_holds_only_some_tensors_proves_nothing():
    """A fallback that sends some tensors another way is not called shared memory."""
    shared = view(UNIX, mappings=[REGION])
    assert decide(shared, shared, 16 * MIB, payload_addresses=[0x1000, 0x2000]).carrier == kernel_view.UNKNOWN


def test_no_connection_is_said():
    """Two processes that nothing connects: unknown, with that as the evidence."""
    found = decide(view(), view(), 1)
    assert found.carrier == kernel_view.UNKNOWN
    assert found.evidence == ("no socket and no shared memory connects pid 1 with pid 2",)


def test_only_writable_mappings_of_the_same_inode_are_shared():
    """Private mappings, other inodes and files both can only read carry nothing between two processes."""
    own = (
        "1000-2000 rw-s 00000000 00:01 5 /memfd:region (deleted)\n"
        "2000-4000 r--s 00001000 00:01 6 /memfd:other way (deleted)\n"
        "4000-5000 r--s 00000000 fe:00 9 /usr/lib/locale-table\n"
        "5000-6000 rw-p 00000000 00:01 7 /memfd:private (deleted)\n"
        "6000-7000 rw-s 00000000 00:01 8 /memfd:mine alone (deleted)\n"
    )
    peer = (
        "a000-b000 r--s 00000000 00:01 5 /memfd:region (deleted)\n"
        "b000-d000 rw-s 00000000 00:01 6 /memfd:other way (deleted)\n"
        "e000-f000 r--s 00000000 fe:00 9 /usr/lib/locale-table\n"
        "f000-ff00 rw-p 00000000 00:01 7 /memfd:private (deleted)\n"
        "not a mapping line\n"
    )
    found = shared_mappings(own, peer)
    assert [(m.inode, m.size_bytes, m.ranges) for m in found] == [
        (5, 0x1000, ((0x1000, 0x2000),)),
        (6, 0x2000, ((0x2000, 0x4000),)),
    ]


def test_a_truncated_kernel_reply_is_an_answer_not_a_crash():
    """A reply shorter than its layout becomes `KernelViewUnavailable`."""

    def parse(_reply):
        return sock_diag._parse_unix(b"\x01\x01")

    with pytest.raises(sock_diag.KernelViewUnavailable, match="too short"):
        sock_diag._listed(_unix_request(), parse, dump=True)


def _unix_request():
    return sock_diag._UNIX_REQUEST.pack(1, 0, 0, sock_diag._ANY, 0, 0, sock_diag._ANY, sock_diag._ANY)
