"""One case, once, on both sides: each brought to its measuring point, then blocks in turn, in random order."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perfguard.duet.side import Side

CASE_TIMEOUT_S = 600.0
FEWEST_PAIRS = 3
MOST_PAIRS = 500
ENOUGH_PAIRS = 12
NO_CPU = -1  # begin where you are

A, B = "a", "b"


@dataclass
class Half:
    """What one side gave: seconds per call of each block, self seconds per call by phase, records, how it ended."""

    blocks_s: list[float] = field(default_factory=list)
    phases_s: list[dict[str, float]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    status: str = "passed"
    message: str = ""
    calls: int = 0
    wall_ns: int = 0


def measure_pair(
    ids: Mapping[str, tuple[Side, str, str]],
    rng: random.Random,
    budget_s: float,
    on_block: Callable[[str, int, float], None] = lambda *_: None,
    *,
    parallel: bool = False,
) -> dict[str, Half]:
    """Measure one case on both sides. `ids`: side name -> (side, node id there, id of the next case there).

    `on_block(side, index, seconds per call)` after each block. `budget_s` is for the blocks of both sides together.
    A side whose test ends without reaching a measuring point is simply done. Raises `DuetError` if a worker fails.
    """
    halves = {name: Half() for name in ids}
    waiting = []
    for name in rng.sample(sorted(ids), len(ids)):
        side, case_id, following = ids[name]
        side.line.send("run", case=case_id, next=following)
        message = side.line.recv(CASE_TIMEOUT_S)
        if message["kind"] == "ready":
            waiting.append(name)
        else:
            _finished(halves[name], message)
    lines = {name: ids[name][0].line for name in waiting}
    if len(waiting) == len(ids):
        _blocks(lines, halves, rng, budget_s, on_block, parallel=parallel)
    for name, line in lines.items():
        line.send("go on")
        _finished(halves[name], line.recv(CASE_TIMEOUT_S))
    return halves


def _blocks(
    lines: Mapping[str, Any],
    halves: Mapping[str, Half],
    rng: random.Random,
    budget_s: float,
    on_block: Callable[[str, int, float], None],
    *,
    parallel: bool,
) -> None:
    names = sorted(lines)
    calibrated = {}
    for name in rng.sample(names, len(names)):
        lines[name].send("calibrate")
        calibrated[name] = lines[name].recv(CASE_TIMEOUT_S)
    calls = max(int(c["calls"]) for c in calibrated.values())  # the same on both sides, so that blocks are alike
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [NO_CPU]
    spent_ns, pairs = 0, 0
    while pairs < MOST_PAIRS:
        order = rng.sample(names, len(names))
        cpu = NO_CPU if parallel else rng.choice(cpus)
        for name in order if parallel else ():
            lines[name].send("block", calls=calls, cpu=cpu)
        for name in order:
            if not parallel:
                lines[name].send("block", calls=calls, cpu=cpu)
            block = lines[name].recv(CASE_TIMEOUT_S)
            half, ns = halves[name], max(1, int(block["ns"]))
            spent_ns += ns
            half.blocks_s.append(ns / calls / 1e9)
            phases = {path: own / calls / 1e9 for path, own in block["phases"].items()}
            half.phases_s.append(phases | {"unaccounted": half.blocks_s[-1] - sum(phases.values())})
            half.calls += calls
            half.wall_ns += ns
            for path, count in block["counts"].items():
                half.counts[path] = half.counts.get(path, 0) + count
            on_block(name, pairs, half.blocks_s[-1])
        pairs += 1
        if spent_ns >= budget_s * 1e9 and pairs >= (ENOUGH_PAIRS if spent_ns < 3 * budget_s * 1e9 else FEWEST_PAIRS):
            return


def _finished(half: Half, message: Mapping[str, Any]) -> None:
    half.status, half.message = str(message["status"]), str(message["message"])
    half.records = {record["name"]: record for record in message["records"]}
    half.notes = list(message["notes"])
