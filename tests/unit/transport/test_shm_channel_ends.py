"""Both ends of a shared-memory channel in one process: who copies, who holds, who waits."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from channel_pairs import CAPACITY_BYTES, channel_pair

from perfguard_suites.transport import dtypes, shm_channel, shm_doorbell, shm_region, shm_slots
from perfguard_suites.transport.channel import Message, Tensor
from perfguard_suites.transport.connect import SHARED_KINDS
from perfguard_suites.transport.errors import CapacityExceeded, ChannelTimeout, PeerDied
from perfguard_suites.transport.shm_region import RECORDS

pytestmark = pytest.mark.skipif(not shm_region.available(), reason="needs memfd and seals")

LARGE = 100_000  # float32 elements: a slot, not inlined


def backing(tensor: Tensor) -> tuple[int, int]:
    """Which page of which file a tensor's memory is: equal for two mappings of the same shared page."""
    address = tensor.__array_interface__["data"][0]
    with open("/proc/self/maps", encoding="ascii") as maps:  # noqa: PTH123 - a pseudo file
        for line in maps:
            span, _, offset, _, inode, *_ = line.split()
            low, high = (int(end, 16) for end in span.split("-"))
            if low <= address < high:
                return int(inode), int(offset, 16) + address - low
    raise AssertionError("not mapped")


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_a_loan_travels_without_a_copy(kind: str) -> None:
    """What the receiver reads is the very memory that the sender computed into."""
    with channel_pair(kind) as (client, server):
        loan = client.loan((LARGE,), np.float32)
        np.multiply(np.arange(LARGE), 2, out=loan, casting="unsafe")
        client.send(Message("m", (loan,)))
        got = server.recv().tensors[0]
        assert backing(got) == backing(loan)
        assert got[7] == 14


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_views_of_a_loan_travel_without_a_copy(kind: str) -> None:
    """Reshaped, sliced, reinterpreted and passed through torch, a contiguous part of a loan is still the loan."""
    torch = pytest.importorskip("torch")
    with channel_pair(kind) as (client, server):
        loan = client.loan((400, 250), np.float32)
        loan[:] = 3
        views = (loan.reshape(-1), loan[100:200], loan.view(np.int32), dtypes.from_torch(dtypes.to_torch(loan)))
        client.send(Message("m", views))
        for got, sent in zip(server.recv().tensors, views, strict=True):
            assert backing(got) == backing(sent)
            assert np.array_equal(got, sent)
        assert torch is not None


def test_what_is_no_loan_is_copied() -> None:
    """The caller may overwrite an ordinary tensor at once; a non-contiguous part of a loan is copied too."""
    with channel_pair("shm") as (client, server):
        mine = np.full(LARGE, 5, np.float32)
        loan = client.loan((LARGE // 10, 20), np.float32)
        loan[:] = 1
        loan[:, 1] = 9
        client.send(Message("m", (mine, loan[:, 1], np.ascontiguousarray(loan[:, 1])[::-1])))
        mine[:] = 0
        whole, column, backwards = server.recv().tensors
        assert (whole == 5).all()
        assert (column == 9).all()
        assert (backwards == 9).all()


def test_handed_back_memory_is_the_senders_own() -> None:
    """A received tensor that is handed back arrives as the loan's own memory, read-only and unchanged."""
    with channel_pair("shm") as (client, server):
        loan = client.loan((LARGE,), np.float32)
        loan[:] = 4
        where = backing(loan)
        client.send(Message("m", (loan,)))
        del loan
        request = server.recv()
        server.send(Message("m", (server.hand_back(request.tensors[0]),)))
        del request
        for _ in range(3):  # nobody may take the slot while it is on its way
            client.loan((LARGE,), np.float32)[:] = 8
        got = client.recv().tensors[0]
        assert backing(got) == where
        assert (got == 4).all()
        assert not got.flags.writeable


def test_what_is_not_handed_back_is_copied_back() -> None:
    """An echo that does not hand back copies into its own direction."""
    with channel_pair("shm") as (client, server):
        client.send(Message("m", (np.ones(LARGE, np.float32),)))
        request = server.recv()
        server.send(Message("m", request.tensors))
        assert backing(client.recv().tensors[0]) != backing(request.tensors[0])


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_a_held_view_is_never_overwritten(kind: str) -> None:
    """A reader that keeps a part of one message sees it unchanged while a hundred others pass."""
    with channel_pair(kind) as (client, server):
        client.send(Message("m", (np.full(LARGE, 1, np.float32),)))
        kept = server.recv().tensors[0][10:20]
        for number in range(100):
            client.send(Message("m", (np.full(LARGE, number, np.float32),)))
            assert server.recv().tensors[0][0] == number
        assert (kept == 1).all()


def test_memory_is_used_again_when_views_are_dropped() -> None:
    """A channel of 4 MiB carries 100 MiB, one message after the other."""
    with channel_pair("shm") as (client, server):
        for number in range(100):
            client.send(Message("m", (np.full(CAPACITY_BYTES // 4 // 4, number, np.float32),)))
            assert server.recv().tensors[0][-1] == number
        assert client.payload_bytes() == (100 * CAPACITY_BYTES // 4, 0)
        assert server.payload_bytes() == (0, 100 * CAPACITY_BYTES // 4)


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_the_whole_capacity_can_be_one_message(kind: str) -> None:
    """Any size up to the capacity travels; one byte more is refused, with what to set."""
    with channel_pair(kind) as (client, server):
        client.send(Message("m", (np.ones(CAPACITY_BYTES, np.uint8),)))
        assert server.recv().tensors[0].nbytes == CAPACITY_BYTES
        with pytest.raises(CapacityExceeded, match=f"set capacity_bytes to at least {CAPACITY_BYTES + 64}"):
            client.send(Message("m", (np.ones(CAPACITY_BYTES + 1, np.uint8),)))
        client.send(Message("m", (np.ones(CAPACITY_BYTES, np.uint8),)))


def test_too_much_on_loan_says_so() -> None:
    """When the caller itself holds the memory, waiting would not help: the error comes at once and says so."""
    with channel_pair("shm") as (client, _server):
        held = client.loan((CAPACITY_BYTES // 2 + 1,), np.uint8)
        with pytest.raises(CapacityExceeded, match="still in use"):
            client.loan((CAPACITY_BYTES // 2 + 1,), np.uint8)
        del held
        assert client.loan((CAPACITY_BYTES // 2 + 1,), np.uint8).nbytes == CAPACITY_BYTES // 2 + 1


def test_a_reader_that_keeps_everything_stops_the_writer_with_a_reason() -> None:
    """Memory held by the peer is waited for, as long as the caller allows, then it is an error."""
    with channel_pair("shm") as (client, server):
        client.send(Message("m", (np.ones(CAPACITY_BYTES // 2, np.uint8),)))
        kept = server.recv()
        with pytest.raises(CapacityExceeded, match="drop tensors"):
            client.send(Message("m", (np.ones(CAPACITY_BYTES, np.uint8),)), timeout_s=0.05)
        del kept
        gc.collect()
        client.send(Message("m", (np.ones(CAPACITY_BYTES, np.uint8),)))
        assert server.recv().tensors[0].all()


def test_unread_messages_are_bounded() -> None:
    """The ring takes 32 messages; the 33rd waits, and is a timeout when nobody reads."""
    with channel_pair("shm") as (client, server):
        for number in range(RECORDS):
            client.send(Message("m", request_id=number))
        with pytest.raises(ChannelTimeout, match="unread"):
            client.send(Message("m"), timeout_s=0.02)
        assert [server.recv().request_id for _ in range(RECORDS)] == list(range(RECORDS))
        client.send(Message("late"))
        assert server.recv().method == "late"


def test_small_tensors_share_the_record_and_are_aligned() -> None:
    """Many small tensors of odd sizes arrive intact, aligned, and hold no slot."""
    with channel_pair("shm") as (client, server):
        sent = tuple(np.arange(size, dtype=np.float64) for size in range(1, 40))
        client.send(Message("m", sent))
        got = server.recv().tensors
        assert all(np.array_equal(a, b) for a, b in zip(sent, got, strict=True))
        assert all(tensor.flags.aligned and not tensor.flags.writeable for tensor in got)


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_tensors_outlive_their_channel(kind: str) -> None:
    """A view, and a loan, stay readable after both ends have closed."""
    with channel_pair(kind) as (client, server):
        loan = client.loan((LARGE,), np.float32)
        loan[:] = 2
        client.send(Message("m", (np.full(LARGE, 6, np.float32),)))
        got = server.recv().tensors[0]
    del client, server
    gc.collect()
    assert (got == 6).all()
    assert (loan == 2).all()


@pytest.mark.parametrize("kind", SHARED_KINDS)
def test_a_closed_peer_is_an_error_after_its_last_message(kind: str) -> None:
    """What was sent before the end is still read; then comes PeerDied."""
    with channel_pair(kind) as (client, server):
        client.send(Message("last"))
        if kind == "shm-zmq":
            assert server.recv().method == "last"  # ZeroMQ with LINGER 0 promises nothing about a closed peer's queue
        client.close()
        client.close()
        if kind == "shm":
            assert server.recv().method == "last"
        with pytest.raises(PeerDied):
            server.recv(timeout_s=5)


def test_a_wait_has_an_end() -> None:
    """A recv with nobody sending is a timeout, and the channel works afterwards."""
    with channel_pair("shm") as (client, server):
        with pytest.raises(ChannelTimeout):
            server.recv(timeout_s=0.01)
        client.send(Message("m"))
        assert server.recv().method == "m"


def test_machines_with_weaker_order_block_and_wake_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stores may be seen out of order nobody spins and every message wakes: the same messages arrive."""
    for module in (shm_channel, shm_doorbell, shm_slots):
        monkeypatch.setattr(module, "TOTAL_STORE_ORDER", False)
    with channel_pair("shm") as (client, server):
        for number in range(200):
            client.send(Message("m", (np.full(LARGE, number, np.float32),)))
            server.send(Message("m", server.recv().tensors))
            assert client.recv().tensors[0][-1] == number
