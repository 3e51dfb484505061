"""One case, once, on both sides: each brought to its measuring point, then blocks in turn, in random order."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perfguard.duet.line import Line
from perfguard.duet.side import Side

CASE_TIMEOUT_S = 600.0
FEWEST_PAIRS = 3
MOST_PAIRS = 500
ENOUGH_PAIRS = 12
MOST_OF_BATCH = 25
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
    measures: bool = False  # it reached the measuring point
    over: bool = False

    def add(self, block: Mapping[str, Any], calls: int) -> None:
        """Keep one block of `calls` calls, as the worker told it: nanoseconds, and by phase self time and count."""
        ns = max(1, int(block["ns"]))
        phases = {path: own / calls / 1e9 for path, (own, _) in block["phases"].items()}
        self.blocks_s.append(ns / calls / 1e9)
        self.phases_s.append(phases | {"unaccounted": self.blocks_s[-1] - sum(phases.values())})
        self.calls += calls
        self.wall_ns += ns
        for path, (_, count) in block["phases"].items():
            self.counts[path] = self.counts.get(path, 0) + count


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
            halves[name].measures = True
            waiting.append(name)
        else:
            _finished(halves[name], message)
    lines = {name: ids[name][0].line for name in waiting}
    if len(waiting) == len(ids):
        _blocks(lines, halves, rng, budget_s, on_block, parallel=parallel)
    for name, line in lines.items():
        if not halves[name].over:
            line.send("go on")
            _finished(halves[name], line.recv(CASE_TIMEOUT_S))
    return halves


def _blocks(
    lines: Mapping[str, Line],
    halves: Mapping[str, Half],
    rng: random.Random,
    budget_s: float,
    on_block: Callable[[str, int, float], None],
    *,
    parallel: bool,
) -> None:
    """Time pairs of blocks in batches until the budget is spent, or a test ends early."""
    names = sorted(lines)
    calibrated = {}
    for name in rng.sample(names, len(names)):
        lines[name].send("calibrate")
        calibrated[name] = lines[name].recv(CASE_TIMEOUT_S)
    if not _all_of_kind(calibrated, "calibrated", halves):
        return
    calls, pair_s = calls_of_block(calibrated.values(), budget_s)
    spent_s, pairs = 0.0, 0
    while pairs < MOST_PAIRS:
        enough = ENOUGH_PAIRS if spent_s < 3 * budget_s else FEWEST_PAIRS
        if spent_s >= budget_s and pairs >= enough:
            break
        wanted = max(math.ceil((budget_s - spent_s) / max(pair_s, 1e-6)), (enough if pair_s < budget_s else 1) - pairs)
        orders = turn_orders(names, max(1, min(wanted, MOST_OF_BATCH)), rng, parallel=parallel)
        batch = rng.getrandbits(32)  # never the same twice: a message of an earlier batch may still be on its way
        shuffled = rng.sample(names, len(names))
        for name in sorted(shuffled, key=lambda name: orders[name][0][0]):  # who is first begins when both know it
            lines[name].send("turns", calls=calls, batch=batch, order=orders[name])
        timed = {name: lines[name].recv(CASE_TIMEOUT_S) for name in names}
        if not _all_of_kind(timed, "timed", halves):
            return
        for index, blocks in enumerate(zip(*(timed[name]["blocks"] for name in names), strict=True)):
            for name, block in zip(names, blocks, strict=True):
                halves[name].add(block, calls)
                on_block(name, pairs + index, halves[name].blocks_s[-1])
        pairs += sum(mine for mine, _ in orders[names[0]])
        spent_s = sum(half.wall_ns for half in halves.values()) / 1e9
        pair_s = spent_s / pairs


def calls_of_block(calibrated: Iterable[Mapping[str, Any]], budget_s: float) -> tuple[int, float]:
    """How many calls a block has, the same on both sides so that blocks are alike, and the seconds of a pair.

    As many as the faster side needs for its clock; but if it became a thousand times as fast, no more than fit the
    budget `ENOUGH_PAIRS` times, or than the slower side's own block has.
    """
    found = [(int(c["calls"]), int(c["block_ns"]) / 1e9) for c in calibrated]
    call_s = sum(block_s / calls for calls, block_s in found)
    longest_s = max(budget_s / ENOUGH_PAIRS, 2 * max(block_s for _, block_s in found))
    calls = max(1, min(max(calls for calls, _ in found), int(longest_s / max(call_s, 1e-12))))
    return calls, calls * call_s


def turn_orders(
    names: Sequence[str], pairs: int, rng: random.Random, *, parallel: bool = False
) -> dict[str, list[tuple[bool, int]]]:
    """For each side the turns of `pairs` pairs, in random order within each pair, as (is it mine, processor).

    Both blocks of a pair begin on one processor, drawn at random. With `parallel` nobody waits for anybody.
    """
    if parallel:
        return {name: [(True, NO_CPU)] * pairs for name in names}
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [NO_CPU]
    turns = [(name, cpu) for cpu in rng.choices(cpus, k=pairs) for name in rng.sample(names, len(names))]
    return {mine: [(name == mine, cpu) for name, cpu in turns] for mine in names}


def _all_of_kind(messages: Mapping[str, Mapping[str, Any]], kind: str, halves: Mapping[str, Half]) -> bool:
    """Whether both sides answered as asked; a test that ended instead is noted in its half."""
    for name, message in messages.items():
        if message["kind"] == "finished":
            _finished(halves[name], message)
    return all(message["kind"] == kind for message in messages.values())


def _finished(half: Half, message: Mapping[str, Any]) -> None:
    half.status, half.message = str(message["status"]), str(message["message"])
    half.records = {record["name"]: record for record in message["records"]}
    half.notes = list(message["notes"])
    half.over = True
