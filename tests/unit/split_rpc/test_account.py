"""The account: it closes, it keeps the two views apart, and it refuses stamps out of causal order."""

from __future__ import annotations

import numpy as np
import pytest

from perfguard_suites.split_rpc.account import account_of, call_stretches
from perfguard_suites.split_rpc.clocks import ClockOffset, best_offset, between, offset_of
from perfguard_suites.split_rpc.errors import BadReply
from perfguard_suites.split_rpc.overlap import merged, overlap_of
from perfguard_suites.split_rpc.protocol import LEDGER_COLUMNS
from perfguard_suites.split_rpc.timeline import Exchange, Stretch, Timeline
from perfguard_suites.transport.channel import Stamps


def exchange(number: int, at: int, **changes: int) -> Exchange:
    """A call whose stations lie 10 ns apart from `at` on: built, begun, copied, packed, [server], resumed."""
    stamps = {"built_ns": at, "sent_ns": at + 35, "waited_ns": at + 35, "resumed_ns": at + 180} | changes
    request = Stamps(at + 10, at + 20, at + 30, at + 50, at + 60)
    reply = Stamps(at + 120, at + 130, at + 140, at + 160, at + 170)
    return Exchange(number, "batch_linear/0/q_proj", request=request, reply=reply, **stamps)


def row(number: int, at: int, ready: int = 0) -> tuple[int, ...]:
    """The server's ledger row of the same call."""
    return (number, ready, at + 70, at + 90, at + 110, at + 145)


def timeline_of(exchanges: list[Exchange], own: list[Stretch], begin: int, end: int) -> Timeline:
    timeline = Timeline()
    timeline.begin_ns, timeline.end_ns = begin, end
    timeline.exchanges, timeline.own = exchanges, own
    return timeline


def test_a_synchronous_pass_closes() -> None:
    """Own work, one call, own work: every nanosecond has a name, and work equals the path."""
    timeline = timeline_of([exchange(1, 100)], [Stretch("norm", 0, 100), Stretch("silu", 280, 300)], 0, 310)
    account = account_of(timeline, np.array([row(1, 100)]), shared_memory=True)
    assert account.path["client/own/norm"] == pytest.approx(100e-9)
    assert account.path["server/compute"] == pytest.approx(20e-9)
    assert account.path["wake-up/request"] == pytest.approx(15e-9)
    assert account.path["wake-up/reply"] == pytest.approx(15e-9)
    assert account.unaccounted_s == pytest.approx(10e-9)
    assert sum(account.path.values()) + account.unaccounted_s == pytest.approx(account.wall_s)
    assert account.work_s == pytest.approx(account.wall_s - account.unaccounted_s)
    assert account.non_compute_s == pytest.approx(310e-9 - 120e-9 - 20e-9)


def test_a_wait_for_a_busy_server_is_queueing() -> None:
    """A server that is not back at its channel yet makes the request queue, not wake up."""
    stretches = {
        name: end - start
        for name, start, end in call_stretches(
            exchange(1, 100), _stamps(row(1, 100, ready=145)), shared_memory=True
        ).stretches
    }
    assert stretches["server/queue"] == 10
    assert stretches["wake-up/request"] == 5
    assert sum(stretches.values()) == 180


def test_zeromq_cannot_tell_the_wire_from_waking_up() -> None:
    """The same stretch has the name of what it may be."""
    names = [s.name for s in call_stretches(exchange(1, 0), _stamps(row(1, 0)), shared_memory=False).stretches]
    assert "wire/request" in names
    assert "wake-up/request" not in names


def test_a_pipelined_pass_does_more_work_than_its_wall() -> None:
    """Two calls in flight: the work's sum exceeds the wall, the critical path does not."""
    first = exchange(1, 0, waited_ns=60)
    second = Exchange(
        2,
        "lm_head",
        built_ns=35,
        sent_ns=60,
        waited_ns=180,
        resumed_ns=300,
        request=Stamps(40, 45, 50, 150, 155),
        reply=Stamps(260, 270, 275, 285, 290),
    )
    rows = [row(1, 0), (2, 148, 160, 240, 250, 280)]
    account = account_of(timeline_of([first, second], [], 0, 300), np.array(rows), shared_memory=True)
    assert sum(account.path.values()) + account.unaccounted_s == pytest.approx(account.wall_s)
    assert account.unaccounted_s == pytest.approx(0, abs=1e-12)
    assert account.work_s > account.wall_s
    assert 0 < account.overlap.fraction <= 1


def test_stamps_out_of_causal_order_are_refused() -> None:
    """A reply that was computed before its request arrived names both stamps."""
    wrong = (1, 0, 40, 90, 110, 145)
    with pytest.raises(BadReply, match=r"server/host-to-device ends 20 ns before server/unpack"):
        call_stretches(exchange(1, 0), _stamps(wrong), shared_memory=True)


def test_a_ledger_of_other_operations_is_refused() -> None:
    """The server's rows must be this pass's calls, one for one."""
    with pytest.raises(BadReply, match="holds 1 operations, the pass made 1"):
        account_of(timeline_of([exchange(1, 0)], [], 0, 180), np.array([row(2, 0)]), shared_memory=True)


def test_overlap_is_an_intersection_over_the_shorter_side() -> None:
    """From intervals, not from totals: nested, touching and disjoint ones."""
    assert merged([(5, 9), (0, 2), (2, 3), (6, 7), (4, 4)]) == [(0, 3), (5, 9)]
    found = overlap_of([(0, 100)], [(50, 60), (55, 70), (200, 210)])
    assert found.both_s == pytest.approx(20e-9)
    assert found.fraction == pytest.approx(20 / 30)
    assert found.either_s == pytest.approx(110e-9)
    assert overlap_of([], [(0, 1)]).fraction == 0


def test_clock_offset_is_within_its_bound_whatever_the_ways_took() -> None:
    """RFC 5905: true offset 1000 ns, ways of 10 and 90 ns; the estimate may miss by half the delay, no more."""
    found = offset_of(0, 1010, 1110, 200)
    assert abs(found.offset_ns - 1000) <= found.bound_ns == 50
    assert best_offset([(0, 1010, 1110, 200), (300, 1305, 1310, 315)]).bound_ns == 5
    with pytest.raises(ValueError, match="other rates"):
        offset_of(0, 0, 100, 50)
    with pytest.raises(ValueError, match="before it begins"):
        offset_of(10, 0, 0, 5)
    with pytest.raises(ValueError, match="no exchanges"):
        best_offset([])


def shifted(ns: int, lag: int = 0) -> tuple[Timeline, np.ndarray]:
    """The synchronous pass with a server whose clock is ahead by `ns`, its replies' packing `lag` ns off as well."""
    one = exchange(1, 100)
    request = one.request._replace(arrived_ns=one.request.arrived_ns + ns, unpacked_ns=one.request.unpacked_ns + ns)
    reply = one.reply._replace(begun_ns=220 + ns, copied_ns=230 + ns, packed_ns=240 + ns - lag)
    timeline = timeline_of([one._replace(request=request, reply=reply)], [Stretch("norm", 0, 100)], 0, 280)
    return timeline, np.array([row(1, 100)]) + np.array([0, *[ns] * 5])


def test_a_server_on_another_clock_has_the_same_account() -> None:
    """Its stamps, an hour ahead, are set by the calls' own; without that they are refused."""
    own, same = account_of(*shifted(0), shared_memory=False), shifted(3_600_000_000_000)
    offset = between(same[0].exchanges)
    assert offset.bound_ns == 20
    assert account_of(*same, shared_memory=False, offset=offset) == own
    with pytest.raises(BadReply, match="ns before"):
        account_of(*same, shared_memory=False)


def test_stamps_out_of_order_within_the_clocks_bound_are_taken_for_simultaneous() -> None:
    """By no more: what no doubt about the clocks explains is refused."""
    timeline, ledger = shifted(0, lag=15)  # packed 5 ns before it was copied
    for bound in (4.0, 5.0):
        offset = ClockOffset(0.0, bound)
        if bound < 5:
            with pytest.raises(BadReply, match="5 ns before"):
                account_of(timeline, ledger, shared_memory=False, offset=offset)
        else:
            account = account_of(timeline, ledger, shared_memory=False, offset=offset)
            assert sum(account.path.values()) + account.unaccounted_s == pytest.approx(account.wall_s)
            assert account.unaccounted_s >= 0


def _stamps(values: tuple[int, ...]):
    from perfguard_suites.split_rpc.account import ServerStamps

    assert len(values) == len(LEDGER_COLUMNS)
    return ServerStamps(*values)
