"""Stages 0 to 6 under a load, without a socket: whoever asks is a loop in the scheduler's own thread.

Stages 0 to 3 know no requests that come and go: they compute a schedule, static batches unless another is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Items
from operator import attrgetter
from time import perf_counter
from typing import Any

from perfguard.ladder import Load
from perfguard.ladder.client import arrivals_s
from perfguard_suites.staged_throughput.backend import Batch, Logits
from perfguard_suites.staged_throughput.channel import Delivery, DirectChannel
from perfguard_suites.staged_throughput.errors import ServiceFailed
from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.inputs import Inputs
from perfguard_suites.staged_throughput.loads import prompt_text, request_name
from perfguard_suites.staged_throughput.sampling import SamplingParameters, greedy
from perfguard_suites.staged_throughput.schedule import Replay, Schedule, Steps, last_steps
from perfguard_suites.staged_throughput.scheduler import Scheduler
from perfguard_suites.staged_throughput.scheduler_batch_processor import SchedulerBatchProcessor
from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.sequence_ids import SequenceIds
from perfguard_suites.staged_throughput.stack import Stack

Compute = Callable[[Items[Sequence]], object]


def sequences_of(stack: Stack, load: Load) -> list[Sequence]:
    """The load's requests as sequences."""
    sampling = SamplingParameters(max_tokens=load.new_tokens, ignore_eos=True)
    encode = stack.engine.tokenizer.encode
    return [Sequence(request_name(i), encode(prompt_text(load, i)), sampling) for i in range(load.requests)]


def bare_step(forward: Callable[[Batch], Logits]) -> Compute:
    """Stages 0 and 1: the least that generates, the likeliest token of each sequence."""
    return _stepping(lambda inputs: greedy(forward(inputs.batch())))


def executor_step(stack: Stack) -> Compute:
    """Stage 2: the executor prepares and samples."""
    return _stepping(stack.executor.execute)


def _stepping(execute: Callable[[Inputs], list[int]]) -> Compute:
    """What a stage below the batch processor's needs around its pass: inputs moved on, tokens kept."""
    kept: Inputs | None = None

    def compute(sequences: Items[Sequence]) -> None:
        nonlocal kept
        if kept is None or kept.chosen is not sequences:
            kept = Inputs(sequences)
        kept.take(execute(kept))

    return compute


def run_schedule(stack: Stack, sequences: Items[Sequence], schedule: Schedule, compute: Compute) -> Steps:
    """Stages 0 to 3: these steps, each request in a slot from its first to its last."""
    done = Steps()
    by_name = {each.name: each for each in sequences}
    ends = last_steps(schedule)
    last = set(ends.values())
    ids = SequenceIds(stack.backend.slots)
    before: tuple[str, ...] = ()
    batch: list[Sequence] = []
    for index, names in enumerate(schedule):
        if names != before:
            before, batch = names, [by_name[name] for name in names]
            for each in batch:
                if each.slot < 0:
                    each.arrived_s = each.admitted_s = perf_counter()
                    each.slot = ids.take()
            batch.sort(key=attrgetter("slot"))
        compute(batch)
        done.add(batch)
        if index in last:
            for each in batch:
                if ends[each.name] == index:
                    stack.backend.free(each.slot)
                    ids.give_back(each.slot)
    return done


def run_batches(
    stack: Stack, batches: SchedulerBatchProcessor, sequences: Items[Sequence], concurrency: int, replay: Replay | None
) -> None:
    """Stage 4: a batch of `concurrency` that the next request joins when one leaves."""
    if replay is not None:
        batches.choose = replay.choose
    ids, slots = SequenceIds(min(concurrency, stack.backend.slots)), {}
    waiting = list(sequences)
    while waiting or batches.running:
        admitted = [each for each in waiting if replay is None or replay.admits(each.name)][: ids.free]
        for each in admitted:
            waiting.remove(each)
            each.arrived_s = each.admitted_s = perf_counter()
            each.slot = slots[each.name] = ids.take()
            batches.join(each)
        for each in batches.step().ended:
            ids.give_back(slots.pop(each.name))


class Requests:
    """A load's requests, submitted as they end (closed loop) or fall due (open loop)."""

    def __init__(self, load: Load, submit: Callable[[int], Sequence]) -> None:
        self.load = load
        self.sequences: list[Sequence] = []
        self.intended_s: list[float] = []
        self._submit = submit
        self._ended = 0
        begin_s = perf_counter()
        self._due_s = None if load.rate_per_s is None else [begin_s + each for each in arrivals_s(load)]

    @property
    def done(self) -> bool:
        """Whether all have ended."""
        return self._ended >= self.load.requests

    def deliver(self, delivery: Delivery) -> None:
        """What a scheduler sends. Raises `ServiceFailed` for a request that failed."""
        for sequence in delivery.ended:
            self._ended += 1
            if sequence.error is not None:
                raise ServiceFailed(f"request {sequence.name}", str(sequence.error))
            if self._due_s is None and len(self.sequences) < self.load.requests:
                self._next(perf_counter())

    def drive(self, scheduler: Scheduler) -> None:
        """Turns of the scheduler until all have ended."""
        if self._due_s is None:
            for _ in range(min(self.load.concurrency, self.load.requests)):
                self._next(perf_counter())
        turn, wait_s = scheduler.turn, None
        while not self.done:
            if self._due_s is not None:
                wait_s = self._submit_due()
            if not turn(0.0) and not self.done:
                if wait_s is None:
                    raise ServiceFailed("scheduler", "has nothing to do, and requests have not ended")
                time.sleep(max(0.0, wait_s))

    def _submit_due(self) -> float | None:
        """Seconds until the next request falls due, None where none will."""
        if self._due_s is None:
            return None
        while len(self.sequences) < self.load.requests:
            due_s = self._due_s[len(self.sequences)]
            if due_s > perf_counter():
                return due_s - perf_counter()
            self._next(due_s)
        return None

    def _next(self, intended_s: float) -> None:
        self.intended_s.append(intended_s)
        self.sequences.append(self._submit(len(self.sequences)))


def run_scheduler(stack: Stack, load: Load, prepared: Items[Sequence], replay: Replay | None) -> Scheduler:
    """Stage 5: requests as tokens through the scheduler."""

    def submit(index: int) -> Sequence:
        scheduler.submit(prepared[index])
        return prepared[index]

    requests = Requests(load, submit)
    scheduler = stack.scheduler(DirectChannel(requests.deliver), max_queue=load.requests, replay=replay)
    requests.drive(scheduler)
    return scheduler


def run_endpoint(
    stack: Stack, load: Load, bodies: Items[Mapping[str, Any]], replay: Replay | None
) -> tuple[Requests, Scheduler, GenerateEndpoint, Mapping[str, list[str]]]:
    """Stage 6: requests as a client writes them, answers as pieces of text."""
    pieces: dict[str, list[str]] = {}
    endpoint = stack.endpoint("staged")

    def submit(index: int) -> Sequence:
        generation = endpoint.accept(bodies[index], name=request_name(index))
        keep = pieces.setdefault(generation.sequence.name, []).append
        generation.on_piece = lambda text, _finish: keep(text)
        endpoint.submit(generation)
        return generation.sequence

    requests = Requests(load, submit)

    def deliver(delivery: Delivery) -> None:
        endpoint.deliver(delivery)
        requests.deliver(delivery)

    scheduler = stack.scheduler(DirectChannel(deliver), max_queue=load.requests, replay=replay)
    endpoint.scheduler = scheduler
    requests.drive(scheduler)
    return requests, scheduler, endpoint, pieces
