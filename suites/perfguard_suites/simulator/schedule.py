"""Puts passes on pipeline stages: which stage works on which microbatch when, and what each phase came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from perfguard_suites.simulator.errors import ConfigurationError
from perfguard_suites.simulator.gantt import NO_LAYER, Piece
from perfguard_suites.simulator.templates import Template

MAX_TASKS = 4_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """`layers` copies of a template, the first for layer `first_layer`; outside the layers, one copy and -1."""

    template: Template
    first_layer: int = NO_LAYER
    layers: int = 1

    @property
    def length_ps(self) -> int:
        """How long it takes."""
        return self.layers * self.template.length_ps


StageRuns = Sequence[Sequence[Run]]  # what each stage does in one pass of one microbatch


@dataclass(slots=True)
class PhaseSums:
    """A phase on the simulated clock, and what its devices did, one device of each stage counted."""

    start_ps: int
    end_ps: int = 0
    busy_ps: int = 0
    link_ps: int = 0
    exposed_ps: int = 0
    flops: int = 0
    nbytes: int = 0
    tasks: int = 0

    @property
    def span_ps(self) -> int:
        """How long it takes."""
        return self.end_ps - self.start_ps

    def count(self, run: Run) -> None:
        """Add what one run does."""
        template, layers = run.template, run.layers
        self.busy_ps += run.length_ps
        self.link_ps += layers * template.link_ps
        self.exposed_ps += layers * template.exposed_ps
        self.flops += layers * template.flops
        self.nbytes += layers * template.nbytes
        self.tasks += layers * len(template.names)


@dataclass(slots=True)
class Schedule:
    """The pieces placed so far. A phase begins when the one before it has ended on all stages."""

    stages: int
    pieces: list[Piece] = field(default_factory=list)
    phases: list[PhaseSums] = field(default_factory=list)
    _free_ps: list[int] = field(default_factory=list)

    def begin(self) -> None:
        """Begin the next phase."""
        now_ps = self.phases[-1].end_ps if self.phases else 0
        self.phases.append(PhaseSums(now_ps, now_ps))
        self._free_ps = [now_ps] * self.stages

    def run(self, stage: int, runs: Sequence[Run], ready_ps: int, token: int = 0, microbatch: int = 0) -> int:
        """Let a stage do these runs as soon as it is free and `ready_ps` has come; returns when they are done.

        Raises `ConfigurationError` for more tasks than a chart can hold.
        """
        now_ps = max(ready_ps, self._free_ps[stage])
        phase, sums = len(self.phases) - 1, self.phases[-1]
        for run in runs:
            self.pieces.append(
                Piece(run.template, phase, stage, token, microbatch, run.first_layer, run.layers, now_ps)
            )
            sums.count(run)
            now_ps += run.length_ps
        if sum(each.tasks for each in self.phases) > MAX_TASKS:
            raise ConfigurationError(
                "max_simulated_tokens", f"a chart holds {MAX_TASKS} tasks", "simulate fewer tokens or microbatches"
            )
        self._free_ps[stage] = now_ps
        sums.end_ps = max(sums.end_ps, now_ps)
        return now_ps

    def passes(self, runs: StageRuns, ready_ps: Sequence[int], token: int = 0) -> list[int]:
        """Let each microbatch go through all stages, from its `ready_ps` on; returns when each has left the last."""
        done = []
        for microbatch, now_ps in enumerate(ready_ps):
            for stage in range(self.stages):
                now_ps = self.run(stage, runs[stage], now_ps, token, microbatch)  # noqa: PLW2901 - it travels
            done.append(now_ps)
        return done
