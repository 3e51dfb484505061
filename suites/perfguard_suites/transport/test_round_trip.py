"""A tensor there and back over each transport and size: where its time goes, on one clock over both processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter_ns, process_time

import numpy as np
import pytest

from perfguard import Perfguard
from perfguard_suites.goals import note_goal
from perfguard_suites.transport.alternatives import payload
from perfguard_suites.transport.channel import Message
from perfguard_suites.transport.conftest import FULL_SIZES, MIB, Connect
from perfguard_suites.transport.roundtrip import Client

UNACCOUNTED_GOAL = 0.05


@pytest.mark.parametrize("kind", ["naive-ipc", "naive-tcp", "multipart-ipc", "multipart-tcp", "shm"])
@pytest.mark.perfguard(limit="50%", budget_s=0.6)
def test_echo(perfguard: Perfguard, connect: Connect, size_bytes: Callable[[int], int], kind: str, size: str) -> None:
    """Echo one tensor: latency, throughput and the account of both processes."""
    nbytes = size_bytes(FULL_SIZES[size])
    client = Client(connect(kind))
    message = Message("echo", (payload(nbytes),) if nbytes else ())
    latencies_ns: list[int] = []

    def trip() -> None:
        done = client.call(message, timeout_s=30.0)
        spans = done.spans
        perfguard.add_stamps([span.name for span in spans], [spans[0].start_ns, *(span.end_ns for span in spans)])
        latencies_ns.append(done.end_ns - done.begin_ns)
        perfguard.add_span("instrumentation", done.end_ns, perf_counter_ns())

    cpu_s, wall_before = process_time(), os.times().elapsed
    perfguard(trip)
    if not perfguard.enabled:
        return
    cpu_share = (process_time() - cpu_s) / max(1e-9, os.times().elapsed - wall_before)
    settled_s = np.array(latencies_ns[len(latencies_ns) // 5 :]) / 1e9
    perfguard.record("p50", float(np.quantile(settled_s, 0.5)), unit="s", gated=False)
    perfguard.record("p99", float(np.quantile(settled_s, 0.99)), unit="s", gated=False)
    perfguard.record("client_cpu", min(1.0, cpu_share), unit="", kind="fraction", gated=False)
    if nbytes:
        perfguard.record("throughput", (2 * nbytes / settled_s).tolist(), unit="B/s", kind="throughput", gated=False)
    if nbytes >= MIB:
        fraction = _unaccounted(client, message)
        perfguard.record("unaccounted_fraction", fraction, unit="", kind="fraction", limit=UNACCOUNTED_GOAL)
        note_goal(
            perfguard, "unaccounted share", float(np.median(fraction)) * 100, at_most=UNACCOUNTED_GOAL * 100, unit="%"
        )


def _unaccounted(client: Client, message: Message) -> list[float]:
    """The share of single round trips that no span on either side claims."""

    def share() -> float:  # a reply is dropped before the next call: its tensors hold a lease on the region
        trip = client.call(message, timeout_s=30.0)
        return trip.unaccounted_ns / (trip.end_ns - trip.begin_ns)

    return [share() for _ in range(7)]
