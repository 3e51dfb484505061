"""Sampling one function: calibrate, warm up until it settles, then rounds until the interval is narrow.

A clock that jumps spoils single rounds: one that goes backwards or stands still gives no sample, and
is counted and said; medians carry the rest.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

from perfguard.document import Account
from perfguard.errors import MeasurementError
from perfguard.measure.blocks import Target, collector_off, tidy_between_rounds
from perfguard.measure.clock import Clock, ClockFacts, inspect_clock, system_clock
from perfguard.measure.plan import Plan
from perfguard.spans.account import AccountBuilder
from perfguard.spans.recorder import Recorder, Span, recording
from perfguard.stats.quantiles import Interval, median_interval

SETTLED_WITHIN = 0.05
MAX_SPOILT_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Round:
    """One timed block: `value_s` seconds per call; self seconds per call by phase path; spans of the block."""

    index: int
    iterations: int
    value_s: float
    warmup: bool
    phases: dict[str, float]
    spans: tuple[Span, ...]


class Observer(Protocol):
    """Told of each step, between timed blocks."""

    def stage(self, stage: str, detail: dict[str, float]) -> None:
        """A stage begins: "calibrate", "warmup" or "measure"."""

    def round(self, done: Round) -> None:
        """A block has been timed."""

    def again(self, values_s: Sequence[float]) -> bool:
        """All rounds are done: whether what they say is unlikely enough that as many more should be measured."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What sampling gave: seconds per call of each timed round, and how they came about."""

    values_s: tuple[float, ...]
    warmup_s: tuple[float, ...]
    iterations: int
    interval: Interval
    account: Account
    settled: bool
    notes: tuple[str, ...]


def sample(target: Target, plan: Plan, observer: Observer, clock: Clock = perf_counter_ns) -> Samples:
    """Measure `target` by `plan`. Raises what the function raises; `MeasurementError` if the clock gives nothing."""
    facts = system_clock() if clock is perf_counter_ns else inspect_clock(clock)
    sampler = _Sampler(target, plan, observer, clock, facts)
    with collector_off(), recording(sampler.recorder):
        sampler.calibrate()
        settled = sampler.warm_up()
        sampler.measure()
        while observer.again(sampler.values):
            sampler.measure(until_narrow=False)
    return sampler.finish(settled)


class _Sampler:
    """The state of one case's sampling; lives for one `sample` call."""

    def __init__(self, target: Target, plan: Plan, observer: Observer, clock: Clock, facts: ClockFacts) -> None:
        self.target = target
        self.plan = plan
        self.observer = observer
        self.clock = clock
        self.facts = facts
        self.recorder = Recorder()
        self.account = AccountBuilder()
        self.iterations = 1
        self.first_s = 0.0
        self.warmup: list[float] = []
        self.values: list[float] = []
        self.spoilt = 0
        self.tidied = 0
        self.interval: Interval | None = None

    def calibrate(self) -> None:
        """Find how many calls make a block long enough for the clock; these calls count as warm-up."""
        self.observer.stage("calibrate", {"clock_cost_ns": self.facts.cost_ns})
        first = True
        shortest_ns = max(self.facts.shortest_round_ns, self.plan.min_block_s * 1e9)
        while True:
            block_ns = self._timed_block()
            self.warmup.append(block_ns / self.iterations / 1e9)
            if first:
                self.first_s, first = block_ns / 1e9, False
            if block_ns >= shortest_ns or self.iterations >= self.plan.max_calls:
                return
            grow = 2.0 if block_ns <= 0 else 1.2 * shortest_ns / block_ns
            self.iterations = min(
                self.plan.max_calls, max(self.iterations + 1, int(self.iterations * min(grow, 100.0)))
            )

    def warm_up(self) -> bool:
        """Run until the median of the last three blocks is within 5 % of the three before; True if it settled."""
        budget_ns = self.plan.budget_s * self.plan.warmup_fraction * 1e9
        if budget_ns == 0:
            return True  # none was asked for
        self.observer.stage("warmup", {"budget_s": budget_ns / 1e9})
        recent: list[float] = []
        spent_ns = self.first_s * 1e9
        while spent_ns < budget_ns and len(recent) < self.plan.max_rounds:
            block_ns = self._timed_block()
            spent_ns += max(block_ns, 1)
            value = block_ns / self.iterations / 1e9
            recent.append(value)
            self.warmup.append(value)
            self.observer.round(Round(len(self.warmup) - 1, self.iterations, value, True, {}, ()))
            if len(recent) >= 6:
                late, early = statistics.median(recent[-3:]), statistics.median(recent[-6:-3])
                if abs(late - early) <= SETTLED_WITHIN * early:
                    return True
        return False

    def measure(self, *, until_narrow: bool = True) -> None:
        """Timed rounds until the interval is narrow or the budget spent; or only the latter."""
        plan = self.plan
        self.observer.stage("measure", {"iterations": self.iterations, "budget_s": plan.budget_s})
        self.recorder.take_round()  # what warm-up left
        spent_ns = 0
        done, next_look = len(self.values), plan.min_rounds
        while len(self.values) < done + plan.max_rounds:
            block_ns = self._timed_block(keep=True)
            spent_ns += max(block_ns, 0)
            n = len(self.values)
            if until_narrow and n >= next_look:
                self.interval = median_interval(self.values, plan.confidence)
                if self.interval.relative_half_width <= plan.target:
                    return
                next_look = n + max(1, n // 5)  # looking costs a sort: look less often as samples grow
            if spent_ns >= plan.budget_s * 1e9 and n >= done + plan.floor_rounds:
                return

    def finish(self, settled: bool) -> Samples:
        """The samples with their interval and what a reader should know of them."""
        notes = []
        if self.spoilt:
            notes.append(f"{self.spoilt} rounds dropped: the clock stood still or went backwards")
        if self.tidied:
            notes.append(f"garbage collector off while timing; {self.tidied} young collections between rounds instead")
        if self.account.overlapping:
            notes.append("phases overlap in time (concurrent tasks): their sum is work, not wall time")
        return Samples(
            values_s=tuple(self.values),
            warmup_s=tuple(self.warmup),
            iterations=self.iterations,
            interval=median_interval(self.values, self.plan.confidence),
            account=self.account.build(),
            settled=settled,
            notes=tuple(notes),
        )

    def _timed_block(self, keep: bool = False) -> int:
        """Nanoseconds of one block that the clock timed properly; with `keep` it becomes a sample."""
        while True:
            block_ns = self.target.block_ns(self.iterations, self.clock)
            self.tidied += tidy_between_rounds()
            if block_ns > 0 or (block_ns == 0 and not keep):
                break
            self.spoilt += 1
            self.recorder.take_round()
            if self.spoilt > MAX_SPOILT_ROUNDS:
                raise MeasurementError(
                    "clock",
                    f"{self.spoilt} rounds in which it stood still or went backwards",
                    "the machine's clock cannot be trusted",
                )
        if keep:
            phases = self.recorder.take_round()
            per_call = self.account.add(block_ns, self.iterations, phases)
            value = block_ns / self.iterations / 1e9
            self.values.append(value)
            self.observer.round(
                Round(len(self.values) - 1, self.iterations, value, False, per_call, tuple(phases.spans))
            )
        return block_ns
