"""The goals as ratios in one run: `python -m perfguard_suites.transport.goals [--quick]`.

Everything that a ratio compares is timed in every round, in random order, on real processes pinned apart where
there are two CPUs; a figure is the median over rounds of the ratio within a round, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from perfguard.noise import NoiseMeter
from perfguard.stats.quantiles import ratio_interval
from perfguard_suites.transport import alternatives
from perfguard_suites.transport.alternatives import Trip
from perfguard_suites.transport.bare import ping_pong
from perfguard_suites.transport.kill_test import run_kills
from perfguard_suites.transport.peer import peer
from perfguard_suites.transport.spin_cost import SpinCost, measure_spin_costs

MIB = 1024 * 1024
CAPACITY_BYTES = 192 * MIB
_SIZES = {"64 B": 64, "4 KiB": 4096, "1 MiB": MIB, "10 MiB": 10 * MIB, "25 MiB": 25 * MIB, "64 MiB": 64 * MIB}
_NOTICE_GOAL_MS = 20.0


@dataclass(frozen=True, slots=True)
class Goal:
    """`numerator / (factor * denominator)`, times of two alternatives, against a bound; `metric` in run documents."""

    metric: str
    name: str
    numerator: str
    denominator: str
    bound: float
    at_least: bool = False
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class GoalResult:
    """A measured goal: the median, its 95 % interval, over `n` rounds (or kills), and what was disturbing.

    `others` is the share of all CPUs that other processes took meanwhile; `best` is the ratio of the tenth
    percentiles, which says more than the median where that is more than a few per cent.
    """

    goal: Goal
    ratio: float
    low: float
    high: float
    n: int
    others: float
    best: float

    @property
    def passed(self) -> bool:
        """Whether the measured figure itself, not an end of its interval, keeps the bound."""
        return self.ratio >= self.goal.bound if self.goal.at_least else self.ratio <= self.goal.bound


GOALS = (
    Goal("shm_over_memcpy_64MiB", "one way 64 MiB / M", "shm one way 64 MiB", "M 64 MiB", 1.05),
    Goal("shm_over_memcpy_10MiB", "one way 10 MiB / M", "shm one way 10 MiB", "M 10 MiB", 1.20),
    Goal("shm_echo_over_2_memcpy_10MiB", "echo 10 MiB / 2 M", "shm 10 MiB", "M 10 MiB", 1.10, factor=2),
    Goal("shm_echo_over_2_memcpy_25MiB", "echo 25 MiB / 2 M", "shm 25 MiB", "M 25 MiB", 1.10, factor=2),
    Goal("shm_echo_over_2_memcpy_64MiB", "echo 64 MiB / 2 M", "shm 64 MiB", "M 64 MiB", 1.05, factor=2),
    Goal(
        "shm_zmq_over_2_memcpy_10MiB",
        "region + ZeroMQ metadata 10 MiB / 2 M",
        "shm-zmq 10 MiB",
        "M 10 MiB",
        1.15,
        factor=2,
    ),
    Goal(
        "shm_zmq_over_2_memcpy_64MiB",
        "region + ZeroMQ metadata 64 MiB / 2 M",
        "shm-zmq 64 MiB",
        "M 64 MiB",
        1.08,
        factor=2,
    ),
    Goal("loan_64MiB_over_4KiB", "loaned round trip 64 MiB / 4 KiB", "shm loaned 64 MiB", "shm loaned 4 KiB", 2.0),
    Goal("naive_ipc_over_shm_1MiB", "N / region 1 MiB", "naive-ipc 1 MiB", "shm 1 MiB", 4, at_least=True),
    Goal("naive_ipc_over_shm_10MiB", "N / region 10 MiB", "naive-ipc 10 MiB", "shm 10 MiB", 10, at_least=True),
    Goal("naive_ipc_over_shm_25MiB", "N / region 25 MiB", "naive-ipc 25 MiB", "shm 25 MiB", 18, at_least=True),
    Goal("naive_ipc_over_shm_64MiB", "N / region 64 MiB", "naive-ipc 64 MiB", "shm 64 MiB", 24, at_least=True),
    Goal(
        "multipart_ipc_over_shm_10MiB",
        "multipart / region 10 MiB",
        "multipart-ipc 10 MiB",
        "shm 10 MiB",
        1.25,
        at_least=True,
    ),
    Goal(
        "multipart_ipc_over_shm_64MiB",
        "multipart / region 64 MiB",
        "multipart-ipc 64 MiB",
        "shm 64 MiB",
        3,
        at_least=True,
    ),
    Goal("naive_ipc_over_shm_64B_spin", "N / region 64 B, spinning", "naive-ipc 64 B", "shm 64 B", 8, at_least=True),
    Goal(
        "naive_ipc_over_shm_64B_block",
        "N / region 64 B, blocking",
        "naive-ipc 64 B",
        "shm blocking 64 B",
        2.4,
        at_least=True,
    ),
    Goal("shm_block_over_bare_64B", "64 B blocking / bare seqpacket", "shm blocking 64 B", "bare seqpacket", 2.2),
    Goal("empty_shm_over_ipc", "empty shm / empty ZeroMQ ipc", "shm empty", "multipart-ipc empty", 0.5),
)
NOTICE_GOAL = Goal("kill_noticed_ms", "peer killed: error within, ms", "", "", _NOTICE_GOAL_MS)
LEFT_GOAL = Goal("left_behind", "peer killed: things left behind", "", "", 0)


@contextlib.contextmanager
def open_alternatives(names: Sequence[str], *, pinned: bool = True) -> Iterator[dict[str, Trip]]:
    """The named alternatives (see `GOALS` for names), each ready to be called; ends its processes at exit."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    apart = pinned and len(cpus) > 1
    server_cpu = cpus[1] if apart else None
    with contextlib.ExitStack() as stack:
        if apart:
            os.sched_setaffinity(0, {cpus[0]})
            stack.callback(os.sched_setaffinity, 0, set(cpus))
        opened = {}
        for kind in sorted({_kind_of(name) for name in names} - {"M", "bare"}):
            spin_us = {"spin_us": 0.0} if kind == "shm blocking" else {}
            opened[kind] = stack.enter_context(
                peer(kind.split()[0], capacity_bytes=CAPACITY_BYTES, cpu=server_cpu, **spin_us)
            )
        trips: dict[str, Trip] = {}
        for name in names:
            kind, size_bytes = _kind_of(name), _size_of(name)
            if kind == "M":
                trips[name] = alternatives.memcpy(size_bytes)
            elif kind == "bare":
                trips[name] = stack.enter_context(ping_pong(name.split()[1], cpu=server_cpu))
            elif "loaned" in name:
                trips[name] = alternatives.loaned(opened[kind], size_bytes)
            elif "one way" in name:
                trips[name] = alternatives.one_way(opened[kind], size_bytes)
            else:
                trips[name] = alternatives.echo(opened[kind], size_bytes)
        yield trips


def _kind_of(name: str) -> str:
    first = name.split(maxsplit=1)[0]
    return f"{first} blocking" if "blocking" in name else first


def _size_of(name: str) -> int:
    return next((size for text, size in _SIZES.items() if name.endswith(text)), 0)


def _calls_of(name: str) -> int:
    """Calls in one go: small ones many, so that each turn has a few milliseconds; large ones one."""
    return 40 if "loaned" in name else 60 if _size_of(name) <= 4096 else 1


def _turns_of(name: str) -> int:
    """Turns in one round."""
    return 3 if MIB <= _size_of(name) <= 10 * MIB and "loaned" not in name else 1


def time_rounds(trips: Mapping[str, Trip], rounds: int, generator: random.Random) -> dict[str, list[float]]:
    """Median seconds per call of each alternative in each round, all in random order within a round.

    A large payload is one call at a time: it finds the caches as another alternative left them, M like all
    others. (Repeated in place, a 10 MiB copy stays in a large last-level cache; a message's data come from
    elsewhere.) A small one is called a few times before it is timed: it is the waking that counts there.
    """
    times_s: dict[str, list[float]] = {name: [] for name in trips}
    for trip in trips.values():
        trip()
    turns = [name for name in trips for _ in range(_turns_of(name))]
    for _ in range(rounds):
        generator.shuffle(turns)
        samples: dict[str, list[int]] = {name: [] for name in trips}
        for name in turns:
            trip, calls = trips[name], _calls_of(name)
            for _ in range(min(calls - 1, 4)):
                trip()
            for _ in range(calls):
                begin_ns = perf_counter_ns()
                trip()
                samples[name].append(perf_counter_ns() - begin_ns)
        for name, taken in samples.items():
            times_s[name].append(statistics.median(taken) / 1e9)
    return times_s


def measure_goals(
    *, rounds: int = 40, goals: Sequence[Goal] = GOALS, pinned: bool = True, seed: int | None = None
) -> list[GoalResult]:
    """Measure ratios, all in one run. Raises the channels' errors."""
    names = sorted({name for goal in goals for name in (goal.numerator, goal.denominator)})
    with open_alternatives(names, pinned=pinned) as trips:
        meter = NoiseMeter()
        times_s = time_rounds(trips, rounds, random.Random(seed))
        others, _steal = meter.read()
    return [_result(goal, times_s, others) for goal in goals]


def _result(goal: Goal, times_s: Mapping[str, Sequence[float]], others: float) -> GoalResult:
    numerator = np.asarray(times_s[goal.numerator])
    denominator = goal.factor * np.asarray(times_s[goal.denominator])
    interval = ratio_interval(numerator, denominator)
    best = float(np.percentile(numerator, 10) / np.percentile(denominator, 10))
    return GoalResult(goal, interval.estimate, interval.low, interval.high, len(numerator), others, best)


def measure_kills(kills: int, seed: int = 0) -> list[GoalResult]:
    """How soon a killed shared-memory server is noticed, and what is left behind: two results."""
    report = run_kills(kills, kinds=("shm",), seed=seed, victims=("server",))
    notices = sorted(report.notice_ms)
    return [
        GoalResult(NOTICE_GOAL, notices[-1], notices[0], notices[-1], len(notices), 0.0, notices[0]),
        GoalResult(LEFT_GOAL, len(report.left_behind), 0, len(report.left_behind), len(notices), 0.0, 0.0),
    ]


def table(results: Sequence[GoalResult]) -> str:
    """The results as lines of text."""
    lines = [f"{'goal':42s} {'measured':>9s}  {'95 % interval':>17s}  {'p10':>7s} {'n':>4s}  {'bound':>9s}"]
    for result in results:
        bound = f"{'>=' if result.goal.at_least else '<='} {result.goal.bound:g}"
        lines.append(
            f"{result.goal.name:42s} {result.ratio:9.3f}  [{result.low:7.3f},{result.high:8.3f}]"
            f"  {result.best:7.3f} {result.n:4d}  {bound:>9s}  {'pass' if result.passed else 'MISS'}"
        )
    others = max((result.others for result in results), default=0.0)
    lines.append(
        f"others took {100 * others:.1f} % of the CPUs meanwhile"
        + ("; trust the tenth percentiles (p10) more than the medians" if others > 0.03 else "")
    )
    return "\n".join(lines)


def spin_table(costs: Sequence[SpinCost]) -> str:
    """What spinning costs, as lines of text."""
    lines = [f"{'CPU seconds per wall second':42s} {'client':>8s} {'server':>8s} {'round trip, us':>15s}"]
    for cost in costs:
        trip = f"{cost.trip_us:15.1f}" if cost.trip_us else f"{'-':>15s}"
        lines.append(f"{cost.name:42s} {cost.client:8.3f} {cost.server:8.3f} {trip}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the goals; exit 1 if one is missed."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.transport.goals", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="12 rounds and 3 kills instead of 40 and 20")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--unpinned", action="store_true", help="leave the placement to the scheduler")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(arguments)
    rounds = options.rounds or (12 if options.quick else 40)
    results = measure_goals(rounds=rounds, pinned=not options.unpinned, seed=options.seed)
    results += measure_kills(3 if options.quick else 20)
    print(table(results), flush=True)
    print(spin_table(measure_spin_costs(0.3 if options.quick else 1.0)))
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
