"""What the doorbell's spinning costs in CPU: idle, in ping-pong, and with a neighbour that never sleeps."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns

from perfguard_suites.transport.alternatives import payload
from perfguard_suites.transport.channel import Channel, Message
from perfguard_suites.transport.errors import ChannelTimeout
from perfguard_suites.transport.peer import peer
from perfguard_suites.transport.roundtrip import Client
from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US


@dataclass(frozen=True, slots=True)
class SpinCost:
    """CPU seconds per wall second of each process in one situation, and the median round trip there (µs, or 0)."""

    name: str
    client: float
    server: float
    trip_us: float


@contextlib.contextmanager
def busy_neighbours(count: int) -> Iterator[None]:
    """That many processes that only burn CPU."""
    burn = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(100000): pass"
    processes = [subprocess.Popen([sys.executable, "-c", burn, str(os.getpid())]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def measure_spin_costs(seconds: float) -> list[SpinCost]:
    """Idle and 64 B ping-pong, spinning and blocking, alone and beside one neighbour; `seconds` for each."""
    costs = []
    for neighbours in (0, 1):
        with busy_neighbours(neighbours):
            beside = ", one busy neighbour" if neighbours else ""
            for name, spin_us in (("spinning", DEFAULT_SPIN_US), ("blocking", 0.0)):
                with peer("shm", spin_us=spin_us, capacity_bytes=1 << 20) as channel:
                    costs.append(_measure(f"{name}, idle{beside}", channel, seconds, pinging=False))
                    costs.append(_measure(f"{name}, ping-pong{beside}", channel, seconds, pinging=True))
    return costs


def _measure(name: str, channel: Channel, seconds: float, *, pinging: bool) -> SpinCost:
    client = Client(channel)
    message = Message("echo", (payload(64),))
    server_before_s = _server_cpu_s(client)
    mine_before_s, begin_s = time.process_time(), perf_counter()
    trips = []
    while perf_counter() - begin_s < seconds:
        if pinging:
            begin_ns = perf_counter_ns()
            client.call(message)
            trips.append(perf_counter_ns() - begin_ns)
        else:
            with contextlib.suppress(ChannelTimeout):
                channel.recv(seconds)
    wall_s = perf_counter() - begin_s
    mine_s = time.process_time() - mine_before_s
    server_s = _server_cpu_s(client) - server_before_s
    trip_us = statistics.median(trips) / 1e3 if trips else 0.0
    return SpinCost(name, mine_s / wall_s, server_s / wall_s, trip_us)


def _server_cpu_s(client: Client) -> float:
    used = client.call(Message("stats")).reply.attributes["cpu_s"]
    assert isinstance(used, float)
    return used
