"""The ladder's stages 0 to 7 over one backend in one process, so that stages differ in their components alone.

At the top, the event loop has a process or a thread beside the scheduler's, and the load client is another process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

from perfguard.ladder import Load, RequestTimes, Stage, StageRun
from perfguard_suites.staged_throughput.backend import Backend
from perfguard_suites.staged_throughput.errors import ServiceFailed
from perfguard_suites.staged_throughput.front_end import KINDS
from perfguard_suites.staged_throughput.interpreter import steady
from perfguard_suites.staged_throughput.load_client import LoadClient
from perfguard_suites.staged_throughput.loads import request_body, request_name
from perfguard_suites.staged_throughput.offline import (
    bare_step,
    executor_step,
    run_batches,
    run_endpoint,
    run_schedule,
    run_scheduler,
    sequences_of,
)
from perfguard_suites.staged_throughput.schedule import Replay, Schedule, Steps, static_schedule
from perfguard_suites.staged_throughput.scheduler import Scheduler
from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.service import GATHER_S, Service
from perfguard_suites.staged_throughput.stack import Stack, stack_on

COMPONENTS = (
    "Backend",
    "InferenceEngine",
    "ModelExecutor",
    "BatchProcessor",
    "SchedulerBatchProcessor",
    "Scheduler",
    "GenerateEndpoint",
    "HTTP server",
)
TARGETS: Mapping[int, float] = {5: 0.99, 6: 0.96, 7: 0.92}
# Of the real shape.
TARGETS_0_6B: Mapping[int, float] = {7: 0.95}
MODEL = "staged"
LAST_WITHOUT_TEXT = 5


def targets_of(profile: str) -> Mapping[int, float]:
    """The goals of a profile: stage and its share of stage 0's speed."""
    return {"small": TARGETS, "0.6b": TARGETS_0_6B}.get(profile, {})


@dataclass(slots=True)
class Outcome:
    """What one run of a stage left behind: its tokens by request, and the schedule that it computed."""

    run: StageRun
    tokens: Mapping[str, list[int]]
    schedule: Schedule


@dataclass(slots=True)
class _Books:
    """Filled while a stage runs."""

    sequences: Items[Sequence] = ()
    bodies: Items[Mapping[str, Any]] = ()
    calls: dict[str, int] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    steps: Steps = field(default_factory=Steps)
    client: StageRun | None = None


class Stages:
    """All stages over one backend; stage 7 runs inside `serving`. `front`: where its event loop runs."""

    def __init__(self, backend: Backend, *, front: str = KINDS[0], gather_s: float = GATHER_S) -> None:
        self.backend, self.front, self.gather_s = backend, front, gather_s
        self.stack: Stack = stack_on(backend)
        self._service: Service | None = None
        self._client: LoadClient | None = None
        self._ways: Mapping[int, Callable[[Load, Schedule | None, _Books], None]] = {
            0: self._backend,
            1: self._engine,
            2: self._executor,
            3: self._processor,
            4: self._batches,
            5: self._scheduler,
            6: self._endpoint,
            7: self._server,
        }

    @contextlib.contextmanager
    def serving(self) -> Iterator[Service]:
        """Stage 7's server beside this thread, and its client."""
        service = self.new_service()
        client = LoadClient()
        try:
            with steady(), service.beside():
                self._service, self._client = service, client
                yield service
        finally:
            self._service = self._client = None
            client.close()

    def new_service(self) -> Service:
        """Stage 7's server, not running."""
        return Service(self.stack, MODEL, front=self.front, gather_s=self.gather_s)

    def ladder(self, top: int = 7, *, targets: Mapping[int, float] = TARGETS) -> list[Stage]:
        """The stages for `perfguard.ladder.measure`, up to `top`; `targets`: what share of stage 0 each must reach."""
        return [
            Stage(f"stage{number}", COMPONENTS[number], self._runner(number), targets.get(number))
            for number in range(top + 1)
        ]

    def run(self, number: int, load: Load, schedule: Schedule | None = None) -> Outcome:
        """One run of a stage; with a schedule, exactly its batches.

        Raises `ServiceFailed` where tokens are missing or cells are left.
        """
        books = _Books()
        self.backend.forget()
        before = dict(self.stack.calls())
        # What a client has ready before it begins, at stage 7 too.
        if number <= LAST_WITHOUT_TEXT:
            books.sequences = sequences_of(self.stack, load)
        elif number < len(COMPONENTS) - 1:
            books.bodies = [request_body(load, index) for index in range(load.requests)]
        begin_s = perf_counter()
        self._ways[number](load, schedule, books)
        wall_s = perf_counter() - begin_s
        tokens = {each.name: each.tokens for each in books.sequences}
        wrong = [name for name, found in tokens.items() if len(found) != load.new_tokens]
        if wrong or len(tokens) != load.requests:
            raise ServiceFailed(f"stage {number}", f"{len(tokens)} requests ended, these short of tokens: {wrong[:5]}")
        if self.backend.cells:
            raise ServiceFailed(f"stage {number}", f"{self.backend.cells} cells of the KV cache are still in use")
        calls = {name: count - before[name] for name, count in self.stack.calls().items()}
        run = books.client or StageRun(wall_s, sum(map(len, tokens.values())), _times(books))
        forwards = self.backend.forwards()
        if "sending" in books.phases and books.client is None:
            told_s = books.phases["scheduling"] + books.phases["sending"]
            passes_s = sum(each.end_s - each.begin_s for each in forwards)
            books.phases["batching and sampling"] = wall_s - passes_s - told_s
        run = replace(
            run,
            forwards=forwards,
            calls=calls | books.calls,
            phases=books.phases,
        )
        return Outcome(run, tokens, books.steps.schedule)

    def _runner(self, number: int) -> Callable[[Load], StageRun]:
        return lambda load: self.run(number, load).run

    def _backend(self, load: Load, schedule: Schedule | None, books: _Books) -> None:
        self._steps(load, schedule, books, bare_step(self.backend.forward_batch))

    def _engine(self, load: Load, schedule: Schedule | None, books: _Books) -> None:
        self._steps(load, schedule, books, bare_step(self.stack.engine.forward))

    def _executor(self, load: Load, schedule: Schedule | None, books: _Books) -> None:
        self._steps(load, schedule, books, executor_step(self.stack))

    def _processor(self, load: Load, schedule: Schedule | None, books: _Books) -> None:
        self._steps(load, schedule, books, self.stack.processor.process)

    def _steps(
        self, load: Load, schedule: Schedule | None, books: _Books, compute: Callable[[Items[Sequence]], object]
    ) -> None:
        names = [request_name(index) for index in range(load.requests)]
        static = static_schedule(names, min(load.concurrency, self.backend.slots), load.new_tokens)
        books.steps = run_schedule(self.stack, books.sequences, schedule or static, compute)

    def _batches(self, load: Load, schedule: Schedule | None, books: _Books) -> None:
        batches = self.stack.batches()
        run_batches(self.stack, batches, books.sequences, load.concurrency, Replay(schedule) if schedule else None)
        assert batches.steps is not None
        books.steps = batches.steps
        books.calls = {"SchedulerBatchProcessor": batches.calls}

    def _scheduler(self, load: Load, schedule: Schedule | None, books: _Books) -> None:
        scheduler = run_scheduler(self.stack, load, books.sequences, Replay(schedule) if schedule else None)
        _close(books, scheduler)

    def _endpoint(self, load: Load, schedule: Schedule | None, books: _Books) -> None:
        replay = Replay(schedule) if schedule else None
        requests, scheduler, endpoint, _ = run_endpoint(self.stack, load, books.bodies, replay)
        books.sequences = requests.sequences
        _close(books, scheduler)
        books.calls["GenerateEndpoint"] = endpoint.calls
        books.phases |= endpoint.phases

    def _server(self, load: Load, schedule: Schedule | None, books: _Books) -> None:
        service, client = self._service, self._client
        if service is None or client is None:
            raise ServiceFailed("stage 7", "its server does not run", "use Stages.serving()")
        scheduler = service.renew(Replay(schedule) if schedule else None)
        ended: list[Sequence] = []
        scheduler.on_end = ended.append
        before = service.front.report()
        client.start(load, service.host, service.port, MODEL, service.front.channel.close)
        scheduler.serve()
        books.client = client.result()
        after = service.front.report()
        books.sequences = ended
        _close(books, scheduler)
        books.calls |= {name: count - before["calls"][name] for name, count in after["calls"].items()}
        books.phases |= {name: s - before["phases"][name] for name, s in after["phases"].items()}
        books.phases["front end, CPU time beside the passes"] = after["cpu_s"] - before["cpu_s"]


def _close(books: _Books, scheduler: Scheduler) -> None:
    assert scheduler.batches.steps is not None
    books.steps = scheduler.batches.steps
    books.calls = {"SchedulerBatchProcessor": scheduler.batches.calls, "Scheduler": scheduler.calls}
    books.phases = dict(scheduler.phases)


def _times(books: _Books) -> tuple[RequestTimes, ...]:
    token_s = books.steps.token_s()
    return tuple(
        RequestTimes(each.arrived_s, each.arrived_s, tuple(token_s[each]), each.admitted_s - each.arrived_s)
        for each in books.sequences
    )
