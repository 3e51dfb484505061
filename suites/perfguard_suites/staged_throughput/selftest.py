"""The ladder's self-test on this stack: a known delay a step in one component after another, on the real model.

A front end of its own works while the engine computes, and hides a delay that is shorter than a step: rightly, nothing
is lost then. To see whether the blame is right where something is, stage 7 goes in lockstep here: the engine waits
until the event loop, in a thread of its process, has dealt with each step.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from perfguard.ladder import Load, Stage, StageRun
from perfguard_suites.staged_throughput.backend import Backend
from perfguard_suites.staged_throughput.channel import Channel, Delivery, LoopChannel
from perfguard_suites.staged_throughput.errors import ServiceFailed
from perfguard_suites.staged_throughput.front_end import ThreadFront
from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.schedule import Replay
from perfguard_suites.staged_throughput.scheduler import Scheduler
from perfguard_suites.staged_throughput.scheduler_batch_processor import SchedulerBatchProcessor
from perfguard_suites.staged_throughput.service import Service
from perfguard_suites.staged_throughput.stack import Stack
from perfguard_suites.staged_throughput.stages import MODEL, Stages

STEP_TIMEOUT_S = 60.0
DELAY_S = 1e-3
LOAD = Load(requests=8, new_tokens=64, prompt_tokens=16)


class Delays:
    """Makes the component of `layer` spend `delay_s` in each step, by `spend`. `spent`: how often each one did."""

    def __init__(self, spend: Callable[[float], None], delay_s: float) -> None:
        self.layer: int | None = None
        self.spent: Counter[int] = Counter()
        self._spend, self._delay_s = spend, delay_s

    def step(self, layer: int) -> None:
        """A step of that layer's component."""
        if layer == self.layer:
            self.spent[layer] += 1
            self._spend(self._delay_s)

    def around(self, layer: int, call: Callable[..., Any]) -> Callable[..., Any]:
        """A component's function, each call of which is a step."""

        def delayed(*given: Any) -> Any:
            self.step(layer)
            return call(*given)

        return delayed

    def around_delivery(self, layer: int, call: Callable[[Delivery], None]) -> Callable[[Delivery], None]:
        """One of which only those calls are steps that bring tokens."""

        def delayed(delivery: Delivery) -> None:
            if delivery.sequences:
                self.step(layer)
            call(delivery)

        return delayed


@dataclass(frozen=True, slots=True)
class DelayedStack(Stack):
    """A stack whose components can be delayed; those that are made for each run too."""

    delays: Delays

    def batches(self) -> SchedulerBatchProcessor:
        """See `Stack`."""
        found = Stack.batches(self)
        found.step = self.delays.around(4, found.step)  # type: ignore[method-assign]
        return found

    def scheduler(self, channel: Channel, *, max_queue: int = 256, replay: Replay | None = None) -> Scheduler:
        """See `Stack`."""
        found = Stack.scheduler(self, channel, max_queue=max_queue, replay=replay)
        # Where the scheduler calls the batch processor below it, which has a delay of its own.
        found.batches.step = self.delays.around(5, found.batches.step)  # type: ignore[method-assign]
        return found

    def endpoint(self, model: str) -> GenerateEndpoint:
        """See `Stack`."""
        found = Stack.endpoint(self, model)
        found.deliver = self.delays.around_delivery(6, found.deliver)  # type: ignore[method-assign, assignment]
        return found


class LockstepChannel(LoopChannel):
    """A `LoopChannel` whose `send` returns when the event loop has dealt with it, and spent stage 7's delay."""

    def __init__(self, deliver: Callable[[Delivery], None], delays: Delays) -> None:
        super().__init__(deliver)
        self._dealing = delays.around_delivery(7, deliver)

    def send(self, delivery: Delivery) -> None:
        """See `Channel`. Raises `ServiceFailed` where the loop does not come to it."""
        assert self.loop is not None
        done = threading.Event()
        self.loop.call_soon_threadsafe(self._dealt, delivery, done)
        if not done.wait(STEP_TIMEOUT_S):
            raise ServiceFailed("event loop", f"a step took it more than {STEP_TIMEOUT_S:g} s")

    def _dealt(self, delivery: Delivery, done: threading.Event) -> None:
        try:
            self._dealing(delivery)
        finally:
            done.set()


class DelayedStages(Stages):
    """The stages over a backend, with a delay in whichever component `stages_with` is asked for."""

    def __init__(self, backend: Backend, delays: Delays) -> None:
        super().__init__(backend, front="thread")
        self.delays = delays
        plain = self.stack
        backend_, engine, executor, processor = plain.backend, plain.engine, plain.executor, plain.processor
        backend_.compute = delays.around(0, backend_.compute)  # type: ignore[attr-defined]
        engine.forward = delays.around(1, engine.forward)  # type: ignore[method-assign]
        executor.execute = delays.around(2, executor.execute)  # type: ignore[method-assign]
        processor.process = delays.around(3, processor.process)  # type: ignore[method-assign]
        self.stack = DelayedStack(backend_, engine, executor, processor, delays)

    def new_service(self) -> Service:
        """See `Stages`: in lockstep."""
        service = Service(self.stack, MODEL, front="thread", gather_s=self.gather_s)
        assert isinstance(service.front, ThreadFront)
        service.front.channel = LockstepChannel(service.front.endpoint.deliver, self.delays)
        return service

    def stages_with(self, name: str, *, top: int = 7) -> list[Stage]:
        """All stages up to `top`, with the delay in the component of that stage; with none for "". See `blame`."""
        layer = int(name.removeprefix("stage")) if name else None
        return [replace(each, run=self._delayed(each.run, layer)) for each in self.ladder(top)]

    def _delayed(self, run: Callable[[Load], StageRun], layer: int | None) -> Callable[[Load], StageRun]:
        def delayed(load: Load) -> StageRun:
            self.delays.layer = layer
            try:
                return run(load)
            finally:
                self.delays.layer = None

        return delayed
