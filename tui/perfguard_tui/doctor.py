"""What the machine and the dashboard itself are doing: readings once a second, kept for two minutes."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from perfguard.doctor.machine import Facts, overheated, read_facts

KEPT = 120
MOST_PROCESSES = 8
FACTS_S = 10.0  # a machine of many CPUs has many files to read


class Busy(NamedTuple):
    """One other process: its id, name, and share of one CPU since the reading before."""

    pid: int
    name: str
    cpu: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Fractions of all CPUs, loads over 1, 5 and 15 minutes, MHz now and at most (0: not told), seconds, bytes.

    `throttled`: times the CPUs were throttled for heat so far, None where it is not told. `clock_s`: what one reading
    of the clock takes. `frame_s`: the dashboard's latest frames; `cpu`: its own share of one CPU.
    """

    busy: float = 0.0
    steal: float = 0.0
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    cpus: int = 1
    mhz: float = 0.0
    mhz_most: float = 0.0
    throttled: int | None = None
    clock_s: float = 0.0
    frame_p50_s: float = 0.0
    frame_p99_s: float = 0.0
    cpu: float = 0.0
    rss_bytes: int = 0
    others: tuple[Busy, ...] = ()


@dataclass(slots=True)
class Doctor:
    """Takes readings; `frames` holds the seconds of CPU of the dashboard's latest frames.

    `facts`: what the kernel told when the dashboard was first asked, and now; None before that.
    """

    frames: deque[float] = field(default_factory=lambda: deque(maxlen=600))
    readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=KEPT))
    facts: tuple[Facts, Facts] | None = None
    _facts_s: float = 0.0
    _cpu: tuple[float, float, float] = (0.0, 0.0, 0.0)
    _own: tuple[float, float] = (0.0, 0.0)
    _before: dict[int, float] = field(default_factory=dict)
    _read_s: float = 0.0

    def due(self) -> bool:
        """Whether a second has passed since the last reading."""
        return time.monotonic() - self._read_s >= 1.0

    def read(self) -> None:
        """One reading; differences are to the one before, so the first says nothing of shares."""
        import psutil  # the first frame needs none of it

        now_s = time.monotonic()
        if self.facts is None or now_s - self._facts_s > FACTS_S:
            facts, self._facts_s = read_facts(), now_s
            self.facts = (facts if self.facts is None else self.facts[0], facts)
        times = psutil.cpu_times()
        steal_s, total_s = getattr(times, "steal", 0.0), sum(times)
        busy_s = total_s - times.idle - getattr(times, "iowait", 0.0) - steal_s
        past_s = max(1e-9, total_s - self._cpu[2])
        known = self._cpu[2] > 0
        own_s = time.process_time()
        elapsed_s = max(1e-9, now_s - self._own[1])
        frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
        frames = np.array(self.frames) if self.frames else np.zeros(1)
        self.readings.append(
            Reading(
                busy=(busy_s - self._cpu[0]) / past_s if known else 0.0,
                steal=(steal_s - self._cpu[1]) / past_s if known else 0.0,
                load=os.getloadavg(),
                cpus=psutil.cpu_count() or 1,
                mhz=frequency.current if frequency else 0.0,
                mhz_most=frequency.max if frequency else 0.0,
                throttled=overheated(),
                clock_s=clock_cost_s(),
                frame_p50_s=float(np.quantile(frames, 0.5)),
                frame_p99_s=float(np.quantile(frames, 0.99)),
                cpu=(own_s - self._own[0]) / elapsed_s if self._own[1] else 0.0,
                rss_bytes=psutil.Process().memory_info().rss,
                others=self._others(elapsed_s),
            )
        )
        self._cpu, self._own, self._read_s = (busy_s, steal_s, total_s), (own_s, now_s), now_s

    def _others(self, elapsed_s: float) -> tuple[Busy, ...]:
        import psutil

        used: dict[int, float] = {}
        found: list[Busy] = []
        for process in psutil.process_iter(["pid", "name", "cpu_times"]):
            pid, times = process.info["pid"], process.info["cpu_times"]
            if times is None or pid == os.getpid():
                continue
            used[pid] = times.user + times.system
            share = (used[pid] - self._before.get(pid, used[pid])) / elapsed_s
            if share > 0.02:
                found.append(Busy(pid, str(process.info["name"]), share))
        self._before = used
        return tuple(sorted(found, key=lambda one: -one.cpu)[:MOST_PROCESSES])


def clock_cost_s(calls: int = 2000) -> float:
    """What one reading of the clock that measures takes, in seconds."""
    clock = time.perf_counter
    begin_s = clock()
    for _ in range(calls):
        clock()
    return (clock() - begin_s) / calls
