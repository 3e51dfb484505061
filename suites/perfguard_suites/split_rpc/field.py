"""All variants and the single-process model in one field: measured in turn, in random order, round by round.

A round holds one request of each, so that whatever slows the machine slows all; ratios are formed within rounds.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, perf_counter_ns

import torch

from perfguard.stats.quantiles import median_interval
from perfguard_suites.split_rpc.account import PassAccount
from perfguard_suites.split_rpc.arithmetic import relative_error
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.guards import MaskedGuard, VerifiedGuard, guard_for
from perfguard_suites.split_rpc.micro import MicroSweeps
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.split_rpc.process import ServerSettings, running
from perfguard_suites.split_rpc.request import RequestFigures, capacity_for, figures_of, prompt_of, run_passes
from perfguard_suites.split_rpc.runner import SplitModel
from perfguard_suites.split_rpc.server import ModelSource
from perfguard_suites.split_rpc.session import peak_rss_bytes
from perfguard_suites.split_rpc.time_model import TimeModel
from perfguard_suites.split_rpc.variants import SEED, Variant
from perfguard_suites.split_rpc.weights import Weights, trusted_names

SINGLE = "single process"
SINGLE_ON_GPU = "single process on the GPU"
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """What to run: a model, a request, and for how long.

    At least `least_rounds` rounds, then more while one like the last still fits into `budget_s`, in which the server's
    start and a round to warm up are counted. Micro-measurements are swept in the first `most_sweeps` of them.
    """

    source: ModelSource
    prompt: int
    steps: int
    budget_s: float
    least_rounds: int = 3
    most_rounds: int = 60
    most_sweeps: int = 8
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class SingleFigures:
    """One request of the single-process model."""

    prefill_s: float
    decode_step_s: float
    wall_s: float


@dataclass
class Field:
    """What was measured: for each variant its requests, one for each round, and the single process's beside them."""

    plan: FieldPlan
    requests: dict[str, list[RequestFigures]] = field(default_factory=dict)
    single: list[SingleFigures] = field(default_factory=list)
    single_on_gpu: list[SingleFigures] = field(default_factory=list)
    logits_error: dict[str, float] = field(default_factory=dict)
    offline_s: dict[str, float] = field(default_factory=dict)
    server_peak_bytes: int = 0
    client_peak_bytes: int = 0
    device: str = ""
    threads: int = 0
    micro_model: TimeModel | None = None

    @property
    def rounds(self) -> int:
        """How many rounds were run."""
        return len(self.single)

    def split_over_single(self, name: str) -> list[float]:
        """Wall of a variant's request over the single process's, round by round."""
        return [one.wall_s / other.wall_s for one, other in zip(self.requests[name], self.single, strict=True)]

    def part_over_single(self, name: str, part: Callable[[RequestFigures | SingleFigures], float]) -> list[float]:
        """The same of one part of the request."""
        return [part(one) / part(other) for one, other in zip(self.requests[name], self.single, strict=True)]

    def speedup_over_seed(self, name: str) -> list[float]:
        """Non-compute time of the seed's request over this variant's, round by round."""
        return self.gains(SEED.name, name, lambda figures: figures.non_compute_s)

    def gains(self, before: str, after: str, what: Callable[[RequestFigures], float]) -> list[float]:
        """`before` over `after` within each round: above 1 where the step was one forwards."""
        return [what(one) / what(other) for one, other in zip(self.requests[before], self.requests[after], strict=True)]

    def wall_s(self, name: str) -> float:
        """The median wall of a variant's request."""
        return median(figures.wall_s for figures in self.requests[name])

    def accounts(self, name: str) -> list[PassAccount]:
        """The prefills' accounts."""
        return [figures.prefill for figures in self.requests[name]]


def rounds_of(field: Field) -> str:
    """How many rounds, and what an interval over so few is."""
    interval = median_interval(range(field.rounds))
    spread = "least to most" if interval.low == 0 else "by order statistics"
    return f"{field.rounds} rounds: intervals are {spread}, {interval.confidence:.0%} sure to hold the true median"


def measure(plan: FieldPlan, variants: Sequence[Variant], say: Callable[[str], None] = lambda _: None) -> Field:
    """Run the field on a fresh server. Raises the errors of its parts."""
    end_s = perf_counter() + plan.budget_s
    with ExitStack() as stack:
        bench = _Bench(plan, variants, stack)
        say("warming up")
        bench.round(random.Random(0), keep=False)
        number, round_s = 0, 0.0
        while number < plan.least_rounds or (number < plan.most_rounds and perf_counter() + round_s < end_s):
            say(f"round {number + 1}")
            begin_s = perf_counter()
            bench.round(random.Random(zlib.crc32(f"{plan.source}/{number}".encode())), keep=True)
            round_s, number = perf_counter() - begin_s, number + 1
        return bench.finished()


def _guards(
    config: ModelConfig, source: ModelSource, variants: Sequence[Variant]
) -> tuple[Weights, dict[str, MaskedGuard | VerifiedGuard | None]]:
    """The weights, and each variant's guard made of them."""
    weights = source.weights()
    return weights, {variant.name: guard_for(config, variant, weights) for variant in variants}


class _Bench:
    """The server, the models and the sweeps of one field."""

    def __init__(self, plan: FieldPlan, variants: Sequence[Variant], stack: ExitStack) -> None:
        config = plan.source.config()
        self._plan = plan
        self._field = Field(plan, {variant.name: [] for variant in variants})
        kinds = tuple(dict.fromkeys(variant.channel for variant in variants))
        positions = plan.prompt + plan.steps
        capacity = max(capacity_for(config, variants, plan.prompt), 32 * MIB)
        settings = ServerSettings(
            plan.source, kinds, capacity, device=plan.device, threads=torch.get_num_threads(), startup_timeout_s=600
        )
        # The server starts beside this; it must be this thread that starts it, with which it dies.
        with ThreadPoolExecutor(1) as beside:
            guarding = beside.submit(_guards, config, plan.source, variants)
            server = stack.enter_context(running(settings))
            weights, guards = guarding.result()
        self._clients = {kind: server.connect(kind) for kind in kinds}
        self._reference = ReferenceModel(config, weights, positions)
        trusted = {name: weights[name].float() for name in trusted_names(config, embedding=True)}
        self._ids = prompt_of(config, positions)
        self._splits = {
            variant.name: SplitModel(
                config,
                trusted,
                variant,
                self._clients[variant.channel],
                positions,
                guards[variant.name],
            )
            for variant in variants
        }
        for split in self._splits.values():  # before the server goes, which may own memory of theirs
            stack.callback(split.close)
        self._swept = 0
        self._sweeps = MicroSweeps(config, list(self._splits.values()), plan.prompt)
        self._expected = self._single(self._reference)[1]
        on_gpu = torch.cuda.is_available() and self._clients[kinds[0]].health()["device"] != "cpu"
        self._reference_on_gpu = ReferenceModel(config, weights, positions, "cuda") if on_gpu else None

    def round(self, generator: random.Random, *, keep: bool) -> None:
        """One request of each, the single process's among them, and a sweep of micro-measurements."""
        names = [SINGLE, *([SINGLE_ON_GPU] if self._reference_on_gpu else []), *self._splits]
        generator.shuffle(names)
        for name in names:
            if name == SINGLE:
                figures, _ = self._single(self._reference)
                if keep:
                    self._field.single.append(figures)
            elif name == SINGLE_ON_GPU and self._reference_on_gpu:
                figures, _ = self._single(self._reference_on_gpu)
                if keep:
                    self._field.single_on_gpu.append(figures)
            else:
                self._request(name, keep=keep)
        if keep and self._swept < self._plan.most_sweeps:
            self._sweeps.sweep()
            self._swept += 1

    def _request(self, name: str, *, keep: bool) -> None:
        split, plan = self._splits[name], self._plan
        steps = plan.steps if keep else min(1, plan.steps)  # enough to warm up
        if isinstance(split.guard, MaskedGuard):
            split.guard.prepare(plan.prompt, steps)
        figures = figures_of(run_passes(split, self._ids[: plan.prompt + steps], plan.prompt), split)
        pairs = zip(figures.logits, self._expected[: 1 + steps], strict=True)
        error = max(relative_error(found[-1:], expected) for found, expected in pairs)
        self._field.logits_error[name] = max(error, self._field.logits_error.get(name, 0.0))
        if keep:
            self._field.requests[name].append(figures)

    def _single(self, reference: ReferenceModel) -> tuple[SingleFigures, list[torch.Tensor]]:
        prompt, ids = self._plan.prompt, self._ids
        reference.reset()
        stamps, logits = [perf_counter_ns()], []
        for begin, end in [(0, prompt), *((at, at + 1) for at in range(prompt, len(ids)))]:
            logits.append(reference.forward(ids[begin:end]))
            stamps.append(perf_counter_ns())
        prefill_s, wall_s = (stamps[1] - stamps[0]) / 1e9, (stamps[-1] - stamps[0]) / 1e9
        return SingleFigures(prefill_s, (wall_s - prefill_s) / max(1, self._plan.steps), wall_s), logits

    def finished(self) -> Field:
        """Everything that was measured."""
        found = self._field
        health = next(iter(self._clients.values())).health()
        found.server_peak_bytes = int(health["peak_rss_bytes"] or 0)
        found.client_peak_bytes = peak_rss_bytes()
        found.device, found.threads = str(health["device"]), int(health["threads"] or 0)
        for name, split in self._splits.items():
            if isinstance(split.guard, MaskedGuard):
                found.offline_s[name] = split.guard.offline_s / (found.rounds + 1)
        found.micro_model = self._sweeps.fit()
        return found
