"""Comparing alternatives: each timed once per round, in random order, so that the machine's drift cancels.

The figure is the ratio within a round; its interval is over rounds. Two alternatives timed minutes apart
on a busy machine can differ by 2x while being the same code; timed in turn they do not.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np

from perfguard.errors import MeasurementError
from perfguard.measure.blocks import Target, all_prepared, collector_off, tidy_between_rounds
from perfguard.measure.clock import Clock, system_clock
from perfguard.measure.plan import Plan
from perfguard.measure.sampling import MAX_SPOILT_ROUNDS
from perfguard.stats.quantiles import Array, Interval, median_interval, ratio_interval

SHORTEST_BLOCK_S = 200e-6  # long enough that a switch of alternatives is not what is timed
SETTLE_BELOW_S = 0.1  # blocks longer than this do not notice in whose state the caches were


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds per call, shape (rounds,), for each alternative, in the order they were given."""

    times_s: Mapping[str, Array]
    results: Mapping[str, Any]
    confidence: float = 0.95

    @property
    def rounds(self) -> int:
        """How many rounds were timed."""
        return int(next(iter(self.times_s.values())).size)

    def time(self, name: str) -> Interval:
        """The median seconds per call of one alternative."""
        return median_interval(self._times(name), self.confidence)

    def ratios(self, name: str, reference: str) -> Array:
        """The ratio name / reference within each round, shape (rounds,)."""
        return self._times(name) / self._times(reference)

    def ratio(self, name: str, reference: str) -> Interval:
        """The median ratio of times, name over reference, with its interval over rounds."""
        return ratio_interval(self._times(name), self._times(reference), self.confidence)

    def _times(self, name: str) -> Array:
        try:
            return self.times_s[name]
        except KeyError:
            raise MeasurementError(
                "perfguard.compare", f"no alternative {name!r}", f"there are {', '.join(self.times_s)}"
            ) from None


def compare_in_turn(  # noqa: PLR0913 - what a comparison needs, by name
    alternatives: Mapping[str, Callable[[], Any]],
    reference: str | None,
    plan: Plan,
    on_round: Callable[[int, dict[str, float]], None],
    clock: Clock = perf_counter_ns,
    *,
    seed: str,
    device: str = "cpu",
    block_s: float = SHORTEST_BLOCK_S,
    settle: bool = True,
) -> tuple[Comparison, str]:
    """Interleave the alternatives; the comparison, and the name of the reference (the first where None is given).

    The order is random but known: the same `seed`, a case's id, gives the same order. Raises `MeasurementError` if
    the reference is none of the alternatives.
    """
    first = next(iter(alternatives), None) if reference is None else reference
    if first is None or first not in alternatives:
        raise MeasurementError("perfguard.compare", f"the reference {first!r} is none of the alternatives")
    ordered = {first: alternatives[first]} | {name: fn for name, fn in alternatives.items() if name != first}
    with all_prepared(ordered, device) as targets:
        rng = random.Random(zlib.crc32(seed.encode()))
        return interleave(targets, plan, rng, on_round, clock, block_s=block_s, settle=settle), first


def interleave(
    targets: Mapping[str, Target],
    plan: Plan,
    rng: random.Random,
    on_round: Callable[[int, dict[str, float]], None],
    clock: Clock = perf_counter_ns,
    *,
    block_s: float = SHORTEST_BLOCK_S,
    settle: bool = True,
) -> Comparison:
    """Time all targets in turn by `plan` (its budget is for all of them together).

    Stops once every ratio to the first target is within `plan.target`, or the budget is spent.
    `on_round(index, {name: seconds per call})` is called between rounds. A block lasts `block_s` at least. With
    `settle`, an untimed call before each short block gives an alternative its own caches back; without, it finds
    them as the others left them.
    """
    if len(targets) < 2:
        raise MeasurementError("perfguard.compare", f"{len(targets)} alternatives", "give at least two")
    names = list(targets)
    with collector_off():
        calls = {name: _calibrate(target, clock, block_s) for name, target in targets.items()}
        rows: list[dict[str, float]] = []
        deadline = clock() + plan.budget_s * 1e9
        next_look = plan.min_rounds
        spoilt = 0
        last_s: dict[str, float] = {}
        while len(rows) < plan.max_rounds:
            row: dict[str, float] = {}
            for name in rng.sample(names, len(names)):
                if settle and calls[name] * last_s.get(name, 0.0) < SETTLE_BELOW_S:
                    targets[name].block_ns(1, clock)  # untimed: the other alternatives had the caches
                block_ns = targets[name].block_ns(calls[name], clock)
                row[name] = block_ns / calls[name] / 1e9
                tidy_between_rounds()
            if min(row.values()) > 0:  # else the clock jumped: no ratio can be formed
                rows.append(row)
                last_s = row
                on_round(len(rows) - 1, row)
            elif (spoilt := spoilt + 1) > MAX_SPOILT_ROUNDS:
                raise MeasurementError(
                    "clock",
                    f"{spoilt} rounds in which it stood still or went backwards",
                    "the machine's clock cannot be trusted",
                )
            if len(rows) >= next_look:
                if _narrow_enough(rows, names, plan):
                    break
                next_look = len(rows) + max(1, len(rows) // 5)
            if clock() >= deadline and len(rows) >= plan.floor_rounds:
                break
    times = {name: np.array([row[name] for row in rows]) for name in names}
    return Comparison(times, {name: target.result for name, target in targets.items()}, plan.confidence)


def _calibrate(target: Target, clock: Clock, block_s: float) -> int:
    """Calls per block so that a block is long against the clock; two blocks at least, which warm it up."""
    shortest_ns = max(block_s * 1e9, system_clock().shortest_round_ns)
    calls = 1
    block_ns = target.block_ns(1, clock)
    for _ in range(20):
        block_ns = target.block_ns(calls, clock)
        if block_ns >= shortest_ns:
            break
        calls = max(calls + 1, int(calls * min(100.0, 1.2 * shortest_ns / max(block_ns, 1))))
    return calls


def _narrow_enough(rows: list[dict[str, float]], names: list[str], plan: Plan) -> bool:
    reference = np.array([row[names[0]] for row in rows])
    return all(
        ratio_interval(np.array([row[name] for row in rows]), reference, plan.confidence).relative_half_width
        <= plan.target
        for name in names[1:]
    )
