"""A whole run told as events, with every verdict in it: what tests of recordings, bus and dashboard feed on.

Deterministic: figures come from a seeded generator, the clock is a counter.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from perfguard.document import Account, Change, Metric, Phase, PhaseChange
from perfguard.events import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perfguard.document import Direction, Kind, Verdict
    from perfguard.events import EventStream

MODULE = "suites/perfguard_suites/transport/test_round_trip.py"
Step = tuple[str, dict[str, Any], float]
"""Kind, fields, and the seconds that pass before it."""


@dataclass(frozen=True)
class Told:
    """One case of the story: what it measures and what comes out."""

    name: str
    median_s: float
    verdict: Verdict
    ratio: float = 1.0
    spread: float = 0.02
    phases: dict[str, float] = field(default_factory=dict)
    slowed: str = ""
    suite: str = "transport"

    @property
    def id(self) -> str:
        """The node id."""
        return f"{MODULE}::{self.name}"


SHM = {
    "rpc": 0.02,
    "rpc/copy": 0.62,
    "rpc/pack": 0.04,
    "rpc/wire": 0.09,
    "rpc/wake": 0.11,
    "rpc/unpack": 0.08,
}
ZMQ = {"rpc": 0.01, "rpc/copy": 0.31, "rpc/pack": 0.22, "rpc/wire": 0.28, "rpc/wake": 0.05, "rpc/unpack": 0.1}
CASES = (
    Told("test_round_trip[empty-shm]", 11.2e-6, "same", 1.004, phases=SHM),
    Told("test_round_trip[empty-ipc]", 48.7e-6, "same", 0.992, phases=ZMQ),
    Told("test_round_trip[4KiB-shm]", 12.9e-6, "faster", 0.81, phases=SHM, slowed="rpc/wake"),
    Told("test_round_trip[1MiB-shm]", 118e-6, "same", 1.012, phases=SHM),
    Told("test_round_trip[1MiB-naive-ipc]", 2.31e-3, "noisy", 1.13, 0.2, phases=ZMQ),
    Told("test_round_trip[10MiB-shm]", 1.92e-3, "slower", 1.41, phases=SHM, slowed="rpc/copy"),
    Told("test_round_trip[10MiB-naive-ipc]", 24.6e-3, "same", 1.021, phases=ZMQ),
    Told("test_round_trip[64MiB-multipart-tcp]", 61.3e-3, "new", phases=ZMQ),
    Told("test_workload_mix[prefill-128-shm]", 0.214, "same", 0.997, phases=SHM, suite="split_rpc"),
    Told("test_workload_mix[prefill-128-naive-tcp]", 1.91, "broken", suite="split_rpc"),
)


def steps(cases: tuple[Told, ...] = CASES, rounds: int = 60, seed: int = 7) -> Iterator[Step]:
    """The story from `run_started` to `run_finished`."""
    rng = random.Random(seed)
    plan = [{"id": c.id, "key": c.id, "suite": c.suite, "params": {}} for c in cases]
    machine = {"class": "epyc-9354-2c", "cpu": "AMD EPYC 9354", "cpus": 2}
    commit = {"id": "77b772d0c0ffee", "dirty": False}
    started = {"started": "2025-11-21T09:13:02Z", "profile": "standard", "machine": machine, "commit": commit}
    yield "run_started", {**started, "plan": plan}, 0.0
    for case in cases:
        yield from case_steps(case, rounds, rng)
        others = abs(rng.gauss(0.03, 0.01)) + (0.4 if case.verdict == "noisy" else 0)
        yield "machine_noise", {"others": others, "steal": 0.0}, 0.01
    slower = [c.id for c in cases if c.verdict == "slower"]
    noisy = [c.id for c in cases if c.verdict == "noisy"]
    reason = f"{len(slower)} slower: test_round_trip[10MiB-shm] +41 %, rpc/copy accounts for 96 % of it"
    gate = {"exit_status": 1, "slower": slower, "noisy": noisy, "missing": [], "reason": reason}
    yield "gate", gate, 0.1
    yield "run_finished", {"finished": "2025-11-21T09:14:11Z", "exit_status": 1}, 0.01


def case_steps(case: Told, rounds: int, rng: random.Random) -> Iterator[Step]:
    """One case, from `case_started` to `case_finished`."""
    yield "case_started", {"case": case.id}, 0.01
    yield "stage", {"case": case.id, "stage": "setup", "detail": {}}, 0.0
    yield "stage", {"case": case.id, "stage": "calibrate", "detail": {"iterations": 10.0}}, 0.2
    if case.verdict == "broken":
        yield "note", {"case": case.id, "text": "PeerDied: the server (pid 4711) was killed by SIGKILL"}, 0.1
        message = "PeerDied: the server (pid 4711) was killed by SIGKILL"
        done = {"case": case.id, "status": "failed", "duration_s": 0.4, "message": message}
        yield "case_finished", done, 0.1
        return
    yield "stage", {"case": case.id, "stage": "warmup", "detail": {}}, 0.01
    samples = []
    for index in range(-5, rounds):
        if index == 0:
            yield "stage", {"case": case.id, "stage": "measure", "detail": {"budget_s": 5.0}}, 0.0
        drift = 0.3 * math.exp(-(index + 5)) if index < 0 else 0.0
        value = case.median_s * case.ratio * (1 + drift + abs(rng.gauss(0, case.spread)))
        if index >= 0:
            samples.append(value)
        phases = {path: value * share for path, share in _shares(case).items()}
        fields = {"case": case.id, "metric": "time", "index": index + 5, "iterations": 10, "value": value}
        yield "round", {**fields, "warmup": index < 0, "phases": phases or None}, 0.08
        if index % 20 == 0 and phases:
            yield "spans", {"case": case.id, "round": index + 5, "spans": _spans(case, value)}, 0.0
    yield from _results(case, samples)


def _results(case: Told, samples: list[float]) -> Iterator[Step]:
    time = _metric("time", "s", "time", samples, case.spread)
    yield "metric", {"case": case.id, "metric": asdict(time)}, 0.01
    over = _metric("over_memcpy", "", "ratio", [1.04 * case.ratio], 0.01)
    yield "metric", {"case": case.id, "metric": asdict(over)}, 0.0
    yield "account", {"case": case.id, "account": asdict(_account(case, samples))}, 0.01
    if case.verdict == "noisy":
        yield "note", {"case": case.id, "text": "other processes used 43 % of the CPUs meanwhile"}, 0.0
    now, before = time.median, time.median / case.ratio
    change = None
    if case.verdict != "new":
        parts: tuple[PhaseChange, ...] = ()
        if case.slowed:
            delta_s = now - before
            parts = (
                PhaseChange(case.slowed, 0.96 * delta_s, 0.96),
                PhaseChange("unaccounted", 0.04 * delta_s, 0.04),
            )
        ci = (case.ratio * (1 - case.spread), case.ratio * (1 + case.spread))
        change = asdict(Change(case.ratio, ci, parts))
    baseline = {"median": before, "process_runs": 8, "source": "baselines/epyc-9354-2c/transport.toml"}
    yield (
        "verdict",
        {
            "case": case.id,
            "metric": "time",
            "verdict": case.verdict,
            "limit": 0.1,
            "change": change,
            "baseline": None if change is None else baseline,
        },
        0.01,
    )
    done = {"case": case.id, "status": "passed", "duration_s": 5.2, "message": ""}
    yield "case_finished", done, 0.01


def _metric(name: str, unit: str, kind: Kind, samples: list[float], spread: float) -> Metric:
    median = sorted(samples)[len(samples) // 2]
    direction: Direction = "lower"
    return Metric(
        name=name,
        unit=unit,
        direction=direction,
        kind=kind,
        gated=True,
        n=len(samples),
        median=median,
        ci=(median * (1 - spread / 3), median * (1 + spread / 2)),
        confidence=0.95,
        samples=tuple(samples),
    )


def _shares(case: Told) -> dict[str, float]:
    if not case.slowed or case.ratio <= 1:
        return case.phases
    grown = {path: share / case.ratio for path, share in case.phases.items()}
    grown[case.slowed] += (case.ratio - 1) / case.ratio
    return grown


def _account(case: Told, samples: list[float]) -> Account:
    calls = 10 * len(samples)
    wall_s = sum(samples) * 10
    shares = _shares(case)
    phases = []
    for path, share in shares.items():
        total = sum(s for p, s in shares.items() if p == path or p.startswith(f"{path}/"))
        phases.append(Phase(path, wall_s * total, wall_s * share, calls, wall_s * share / calls))
    unaccounted_s = wall_s - sum(phase.self_s for phase in phases)
    return Account(wall_s, unaccounted_s, tuple(phases), calls, unaccounted_s / calls)


def _spans(case: Told, value: float) -> list[list[Any]]:
    """One call: client copies and packs, the server unpacks and answers, and back."""
    call_ns = int(value * 1e9)
    base_ns = 1_000_000_000
    spans: list[list[Any]] = [["rpc", "", base_ns, base_ns + call_ns]]
    at_ns = base_ns
    for lane, path in (
        ("", "rpc/copy"),
        ("", "rpc/pack"),
        ("wire", "rpc/wire"),
        ("server", "rpc/wake"),
        ("server", "rpc/unpack"),
    ):
        end_ns = at_ns + int(call_ns * _shares(case).get(path, 0.1))
        spans.append([path, lane, at_ns, end_ns])
        at_ns = end_ns
    return spans


def events(
    cases: tuple[Told, ...] = CASES, rounds: int = 60, seed: int = 7, run: str = "20251121-0913-a1b2"
) -> list[schema.Event]:
    """The story as validated events on a clock of its own."""
    t_ns = 5_000_000_000
    told = []
    for seq, (kind, fields, dt_s) in enumerate(steps(cases, rounds, seed)):
        t_ns += int(dt_s * 1e9)
        event = {"v": schema.VERSION, "run": run, "src": "main", "seq": seq, "t_ns": t_ns, "kind": kind}
        told.append(schema.unpack(schema.pack({**event, **fields})))
    return told


def tell(stream: EventStream, cases: tuple[Told, ...] = CASES, rounds: int = 60) -> int:
    """Emit the story through the real producer; returns how many events it had."""
    count = 0
    for kind, fields, _ in steps(cases, rounds):
        stream.emit(kind, **fields)
        count += 1
    return count
