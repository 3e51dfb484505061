"""Every kind of channel between two real processes."""

from __future__ import annotations

import contextlib

import numpy as np
import psutil
import pytest

from perfguard_suites.transport import dtypes, shm_region
from perfguard_suites.transport.channel import Message
from perfguard_suites.transport.connect import KINDS, SHARED_KINDS, connect, serve
from perfguard_suites.transport.errors import (
    CapacityExceeded,
    ChannelTimeout,
    ChannelUnavailable,
    PeerDied,
    RemoteError,
)
from perfguard_suites.transport.kill_test import leftovers
from perfguard_suites.transport.peer import peer, server_process
from perfguard_suites.transport.roundtrip import Client
from perfguard_suites.transport.server import reply_spec

CAPACITY_BYTES = 16 * 1024 * 1024
KINDS_HERE = [kind for kind in KINDS if kind not in SHARED_KINDS or shm_region.available()]


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_an_echo_is_what_was_sent(kind: str) -> None:
    """All dtypes and shapes, empty, small, large and non-contiguous, return equal, read-only, of the same dtype."""
    pytest.importorskip("ml_dtypes")
    shapes = [(), (0,), (3, 0, 2), (5,), (17, 3), (700, 300)]
    with peer(kind, capacity_bytes=CAPACITY_BYTES) as channel:
        client = Client(channel)
        assert client.call(Message("echo")).reply.tensors == ()
        sent_bytes = 0
        for name in dtypes.NAMES:
            sent = tuple(
                (np.arange(np.prod(shape, dtype=int)) % 97).reshape(shape).astype(dtypes.resolve(name))
                for shape in shapes
            )
            sent = (*sent, sent[-1].T, sent[-1][::2, ::3])
            got = client.call(Message("echo", sent)).reply.tensors
            assert [tensor.dtype for tensor in got] == [tensor.dtype for tensor in sent]
            assert [tensor.shape for tensor in got] == [tensor.shape for tensor in sent]
            assert all(a.tobytes() == b.tobytes() for a, b in zip(got, sent, strict=True))
            assert not any(tensor.flags.writeable for tensor in got)
            sent_bytes += sum(tensor.nbytes for tensor in sent)
        assert channel.payload_bytes() == (sent_bytes, sent_bytes)
        stats = client.call(Message("stats")).reply.attributes
        assert (stats["sent_bytes"], stats["received_bytes"]) == (sent_bytes, sent_bytes)


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_stamps_order_both_processes_on_one_clock(kind: str) -> None:
    """The spans of a round trip are ordered, contiguous, and lie within what the caller measured."""
    with peer(kind, capacity_bytes=CAPACITY_BYTES) as channel:
        for size in (0, 10, 1_000_000):
            trip = Client(channel).call(Message("echo", (np.ones(size, np.float32),)))
            edges = [trip.spans[0].start_ns, *(span.end_ns for span in trip.spans)]
            assert edges == sorted(edges)
            assert trip.begin_ns <= edges[0]
            assert edges[-1] <= trip.end_ns
            assert trip.unaccounted_ns == trip.end_ns - trip.begin_ns - (edges[-1] - edges[0])


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_the_server_answers_by_method(kind: str) -> None:
    """`mix` returns the tensors asked for, sink none, stats the server's own figures, an unknown method an error."""
    with peer(kind, capacity_bytes=CAPACITY_BYTES) as channel:
        client = Client(channel)
        spec = reply_spec([((2, 3), "float32"), ((), "int8"), ((1000, 500), "bfloat16")])
        for _ in range(2):
            reply = client.call(Message("mix", (np.ones(1000),), {"reply": spec})).reply
            assert [(t.shape, t.dtype.name) for t in reply.tensors] == [
                ((2, 3), "float32"),
                ((), "int8"),
                ((1000, 500), "bfloat16"),
            ]
        assert client.call(Message("sink", (np.ones(100_000),))).reply.tensors == ()
        stats = client.call(Message("stats")).reply.attributes
        assert psutil.pid_exists(int(stats["pid"] or 0))
        assert float(stats["cpu_s"] or 0) > 0
        with pytest.raises(RemoteError, match="unknown to this server"):
            client.call(Message("no such method"))
        for wrong in ("float33:2", "float32:-1", "float32:1,,2", "float32", "float32:x", "float32:" + "9" * 30):
            with contextlib.suppress(RemoteError):
                assert client.call(Message("mix", (), {"reply": wrong})).reply.tensors[0].shape == ()
        assert client.call(Message("stop")).reply.method == "stop"
        with pytest.raises(PeerDied):
            client.call(Message("echo"), timeout_s=5)


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_loans_and_handing_back_mean_the_same_everywhere(kind: str) -> None:
    """A program that uses loans is right on every transport; only shared memory makes it cheaper."""
    with peer(kind, capacity_bytes=CAPACITY_BYTES) as channel:
        client = Client(channel)
        for number in range(20):
            loan = channel.loan((1000, 100), "bfloat16")
            loan[:] = number
            got = client.call(Message("echo_loaned", (loan, loan[3:5]))).reply.tensors
            assert (got[0] == number).all()
            assert got[1].shape == (2, 100)


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_over_capacity_says_what_to_set(kind: str) -> None:
    """A message over the capacity is refused before it is sent, on every kind alike, and the next one passes."""
    with peer(kind, capacity_bytes=CAPACITY_BYTES) as channel:
        with pytest.raises(CapacityExceeded, match="set capacity_bytes to at least"):
            channel.send(Message("echo", (np.ones(CAPACITY_BYTES + 1, np.uint8),)))
        assert Client(channel).call(Message("echo")).reply.method == "echo"


def test_a_server_that_cannot_reply_says_why() -> None:
    """A reply over the server's capacity is an error reply that names it, not a hang."""
    with peer("shm", capacity_bytes=CAPACITY_BYTES) as channel:
        client = Client(channel)
        with pytest.raises(RemoteError, match="capacity_bytes"):
            client.call(Message("mix", (), {"reply": reply_spec([((CAPACITY_BYTES + 1,), "int8")])}))


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_two_runs_at_once_do_not_collide_and_leave_nothing(kind: str) -> None:
    """Two servers of one kind have their own endpoints and tensors; afterwards nothing of them is left."""
    before = leftovers()
    with peer(kind, capacity_bytes=CAPACITY_BYTES) as one, peer(kind, capacity_bytes=CAPACITY_BYTES) as two:
        assert one.endpoint != two.endpoint
        first, second = np.full(300_000, 1, np.float32), np.full(300_000, 2, np.float32)
        got = [Client(one).call(Message("echo", (first,))).reply, Client(two).call(Message("echo", (second,))).reply]
        assert [reply.tensors[0][-1] for reply in got] == [1, 2]
    assert leftovers() <= before


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_a_late_reply_is_not_taken_for_the_next_one(kind: str) -> None:
    """After a call was given up, the next call gets its own reply."""
    with peer(kind, capacity_bytes=CAPACITY_BYTES) as channel:
        client = Client(channel)
        with contextlib.suppress(ChannelTimeout):
            client.call(Message("echo", (np.full(3, 1),)), timeout_s=0.0)
        assert client.call(Message("echo", (np.full(3, 2),))).reply.tensors[0][0] == 2


@pytest.mark.parametrize(
    "endpoint",
    [
        "shm+@perfguard-none",
        "shm-zmq+@perfguard-none",
        "naive-ipc+ipc://@perfguard-none",
        "multipart-tcp+tcp://127.0.0.1:9",
        "naive-tcp+tcp://10.0.0.1:80",
        "pigeon+x",
        "",
        "shm+/tmp/file",
        "naive-tcp+tcp://127.0.0.1:notaport",
    ],
)
def test_an_endpoint_without_a_server_is_an_error_in_time(endpoint: str) -> None:
    """Nobody there, nonsense, or not loopback: ChannelUnavailable, not a hang."""
    with pytest.raises(ChannelUnavailable):
        connect(endpoint, capacity_bytes=CAPACITY_BYTES, timeout_s=0.2)


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_a_listener_gives_up(kind: str) -> None:
    """A server whose client never comes ends with a reason."""
    listener = serve(kind, capacity_bytes=CAPACITY_BYTES)
    try:
        with pytest.raises(ChannelUnavailable, match="no peer"):
            listener.accept(0.05)
    finally:
        listener.close()
        listener.close()


def test_an_unknown_kind_lists_the_known_ones() -> None:
    """A kind misspelt is answered with those that are."""
    with pytest.raises(ChannelUnavailable, match="multipart-ipc"):
        serve("carrier-pigeon")


def test_a_server_that_cannot_start_is_quoted() -> None:
    """The error holds what the server itself said."""
    with pytest.raises(ChannelUnavailable, match="capacity_bytes"), server_process("shm", capacity_bytes=-1):
        pass
