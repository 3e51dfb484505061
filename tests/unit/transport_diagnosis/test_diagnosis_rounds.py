"""How rounds are put together, and how the stamps of a call become phases that sum to its wall time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from perfguard_suites.transport.channel import Stamps
from perfguard_suites.transport.mix import LLAMA_1B, CallRecord, CallShape, predict
from perfguard_suites.transport.rounds import (
    SWEEP,
    fixed_cost,
    interspersed,
    payload_copies_s,
    phase_seconds,
    sweep_points,
)
from perfguard_suites.transport.roundtrip import critical_path

EMPTY = CallShape("empty", -1, (), ())


def record(kind, wall_ns, *steps):
    """A call whose ten stamps are the running sums of nine `steps`, begun 10 ns after the caller."""
    stamps = [10]
    for step in steps:
        stamps.append(stamps[-1] + step)
    return CallRecord(EMPTY, wall_ns, critical_path(kind, Stamps(*stamps[:5]), Stamps(*stamps[5:])), 0, 0)


def test_phases_sum_to_the_wall_and_waking_is_split_off_by_calibration():
    """An empty message's transit is wake-up, the rest is wire; what no stamp claims is unaccounted."""
    empty = record("naive-ipc", 430, 10, 20, 100, 5, 50, 10, 20, 150, 5)
    fixed = fixed_cost([empty, empty, empty])
    full = record("naive-ipc", 10_000, 1000, 520, 900, 205, 60, 2000, 520, 1150, 205)
    spent = {name: round(s * 1e9) for name, s in phase_seconds([full], fixed).items()}
    assert spent == {
        "copy": 3000,
        "pack": 1040,
        "wake-up": 250,
        "wire": 1800,
        "unpack": 410,
        "server": 60,
        "unaccounted": 10_000 - 6560,
    }
    assert round(payload_copies_s("naive-ipc", [full], fixed) * 1e9) == 3000 + 1000 + 400
    assert round(payload_copies_s("multipart-ipc", [full], fixed) * 1e9) == 3000


def test_on_shared_memory_all_transit_is_waking():
    """A doorbell carries nothing, however long its waking takes."""
    fixed = fixed_cost([record("shm", 430, 1, 1, 100, 1, 1, 1, 1, 100, 1)])
    spent = phase_seconds([record("shm", 10_000, 1, 1, 3000, 1, 1, 1, 1, 4000, 1)], fixed)
    assert round(spent["wake-up"] * 1e9) == 7000
    assert spent["wire"] == 0


@pytest.mark.parametrize("tokens", [4, 128, 1024])
def test_the_sweep_stays_within_the_mix(tokens):
    """No message and no tensor of the sweep is larger than the mix's own, and its ends are reached."""
    calls = predict(LLAMA_1B, tokens)
    points = sweep_points(calls)
    assert max(p.sent_bytes for p in points) == max(c.sent_bytes for c in calls)
    assert max(p.received_bytes for p in points) == max(c.received_bytes for c in calls)
    assert max(p.sent_bytes + p.received_bytes for p in points) <= max(c.sent_bytes + c.received_bytes for c in calls)
    largest = max(t.size_bytes for c in calls for t in c.reply)
    assert max(t.size_bytes for p in points for t in p.reply) <= largest
    assert len({(p.sent_bytes, p.received_bytes) for p in points}) == len(points)


def test_interspersing_keeps_the_order_and_loses_no_point():
    """The mix's calls stay in order; every point of the sweep comes exactly once, spread over the whole pass."""
    calls = predict(LLAMA_1B, 128)
    points = sweep_points(calls)
    together = interspersed(calls, points)
    assert tuple(call for call in together if call.method != SWEEP) == calls
    assert tuple(call for call in together if call.method == SWEEP) == points
    gaps = [index for index, call in enumerate(together) if call.method == SWEEP]
    assert max(b - a for a, b in pairwise(gaps)) <= 6
