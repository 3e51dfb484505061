"""Runs a simulation: H2D, Prefill, Decode token by token, D2H, Gantt Build, Stats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter_ns

from perfguard import phase
from perfguard_suites.simulator.collectives import point_to_point_s
from perfguard_suites.simulator.config import Parallelism, Request, Scenario, SimulationConfig
from perfguard_suites.simulator.constants import Calibration
from perfguard_suites.simulator.errors import ConfigurationError
from perfguard_suites.simulator.gantt import Gantt, build
from perfguard_suites.simulator.gemm import Cache, GemmEvaluator
from perfguard_suites.simulator.hardware import Hardware, load_hardware
from perfguard_suites.simulator.model_files import load_model
from perfguard_suites.simulator.models import ModelShape
from perfguard_suites.simulator.operators import Pass
from perfguard_suites.simulator.parallel import Layout
from perfguard_suites.simulator.pricing import Pricer, to_ps
from perfguard_suites.simulator.schedule import Run, Schedule, StageRuns
from perfguard_suites.simulator.statistics import Statistics, Work, statistics_of
from perfguard_suites.simulator.templates import HOST, Composer, Template
from perfguard_suites.simulator.walls import PassWall, Walls, log_phase, log_total

TOKEN_BYTES = 8  # a token id, on its way to the device and back


@dataclass(frozen=True)
class Simulation:
    """What came out: the statistics (simulated), the chart, and what it took (wall)."""

    statistics: Statistics
    gantt: Gantt
    walls: Walls


@dataclass(frozen=True)
class Simulator:
    """One model on one device type, checked. Its `evaluator` does not search again what it has searched.

    Raises `LayoutError` or `ModelDoesNotFit` where the model cannot lie on these devices, `ConfigurationError` where
    the request is longer than the model's positions, or the evaluator is none of this device.
    """

    model: ModelShape
    hardware: Hardware
    config: SimulationConfig
    request: Request
    spread: Parallelism
    evaluator: GemmEvaluator

    def __post_init__(self) -> None:
        positions = self.request.prompt_tokens + self.request.output_tokens
        if positions > self.model.max_positions:
            raise ConfigurationError(
                "prompt_tokens + output_tokens", f"{positions} exceed the {self.model.max_positions} positions of "
                f"{self.model.name}", "ask for less, or take a model with more",
            )  # fmt: skip
        if (
            self.evaluator.hardware != device_of(self.hardware, self.config)
            or self.evaluator.precise != self.config.use_precise_evaluator
        ):
            raise ConfigurationError("evaluator", "is of another device or another precision", "make one of these")
        self.hardware.rate(self.request.dtype)
        _ = self.layout

    @cached_property
    def layout(self) -> Layout:
        """What each device holds."""
        return Layout.of(self.model, self.hardware, self.request, self.spread)

    def fresh(self, *, config: SimulationConfig | None = None, cache: Cache | None = None) -> Simulator:
        """The same, or with other options, with an evaluator that has searched nothing yet."""
        config = config or self.config
        return replace(
            self, config=config, evaluator=evaluator_of(self.hardware, config, self.evaluator.calibration, cache)
        )

    def run(self) -> Simulation:
        """Simulate. Simulated times depend on nothing but the scenario; wall times go to log, phases and result."""
        begin_ns = perf_counter_ns()
        walls = Walls()
        job = _Job(self, self.layout, walls)
        for name, simulate in (
            ("H2D", job.h2d), ("Prefill", job.prefill), ("Decode", job.decode), ("D2H", job.d2h),
        ):  # fmt: skip
            with walls.phase(name):
                job.schedule.begin()
                simulate()
            log_phase(walls, name, job.schedule.phases[-1].span_ps)
        schedule = job.schedule
        with walls.phase("Gantt Build"):
            gantt = build(schedule.pieces, schedule.stages, [sums.end_ps for sums in schedule.phases])
        log_phase(walls, "Gantt Build", 0)
        with walls.phase("Stats"):
            work = Work(self.request, self.hardware, job.positions, frozenset(job.pricer.asked), schedule.stages)
            statistics = statistics_of(work, schedule.phases, self.evaluator)
        log_phase(walls, "Stats", 0)
        walls.total_ns = perf_counter_ns() - begin_ns
        log_total(walls)
        return Simulation(statistics, gantt, walls)


def simulate(scenario: Scenario, *, calibration: Calibration | None = None) -> Simulation:
    """Simulate a scenario from nothing. Raises `SimulatorError`."""
    return simulator_of(scenario, calibration=calibration).run()


def simulator_of(
    scenario: Scenario, *, calibration: Calibration | None = None, cache: Cache | None = None
) -> Simulator:
    """The simulator of a scenario, its model and hardware loaded and its evaluator new. Raises `SimulatorError`.

    `cache`: where the evaluator keeps its results on disk; None for nowhere.
    """
    hardware, model = load_hardware(scenario.hardware), load_model(scenario.model)
    if scenario.layers:
        model = model.first_layers(scenario.layers)
    evaluator = evaluator_of(hardware, scenario.config, calibration, cache)
    return Simulator(model, hardware, scenario.config, scenario.request, scenario.parallelism, evaluator)


def evaluator_of(
    hardware: Hardware, config: SimulationConfig, calibration: Calibration | None = None, cache: Cache | None = None
) -> GemmEvaluator:
    """An evaluator that has searched nothing yet, as precise as the options want it, on the device that they leave."""
    return GemmEvaluator(
        device_of(hardware, config), precise=config.use_precise_evaluator, calibration=calibration, cache=cache
    )


def device_of(hardware: Hardware, config: SimulationConfig) -> Hardware:
    """The device as the options leave it: one that does not overlap its memory traffic, if they say so."""
    return hardware if config.enable_overlap else replace(hardware, overlaps_dma=False)


class _Job:
    """The state of one run: what has been priced, and where the schedule stands."""

    def __init__(self, simulator: Simulator, layout: Layout, walls: Walls) -> None:
        config = simulator.config
        self.model, self.request, self.config = simulator.model, simulator.request, config
        self.hardware, self.spread = simulator.hardware, simulator.spread
        self.layout, self.walls = layout, walls
        self.composer = Composer.of(config, simulator.evaluator.hardware)
        self.pricer = Pricer(simulator.evaluator, chunked=self.composer.communication_overlap)
        self.schedule = Schedule(len(layout.stages))
        self.positions = simulator.request.decode_positions(config.max_simulated_tokens)

    # -- phases

    def h2d(self) -> None:
        """The prompts' token ids, to the first stage."""
        self._transfer("prompt to device", self.request.prompt_tokens, 0)

    def prefill(self) -> None:
        """All positions of the prompts, and each one's first token."""
        tokens = self.request.prompt_tokens
        self._walk(self.walls.prefill, 0, tokens, tokens, self._ready())

    def decode(self) -> None:
        """A token after the other: the next begins when the last stage has made the one before it."""
        ready = self._ready()
        for token, before in enumerate(self.positions):
            context = self.request.prompt_tokens + before + 1
            ready = self._walk(self.walls.decode, token, 1 if self.config.enable_kv_cache else context, context, ready)

    def d2h(self) -> None:
        """The answers' token ids, from the last stage."""
        self._transfer("answer to host", self.request.output_tokens + 1, self.schedule.stages - 1)

    # -- inner

    def _ready(self) -> list[int]:
        return [self.schedule.phases[-1].start_ps] * self.spread.microbatches

    def _transfer(self, name: str, tokens: int, stage: int) -> None:
        if not self.config.enable_data_transfer:
            return
        nbytes = TOKEN_BYTES * tokens * self.request.batch // self.spread.data
        seconds = self.hardware.host_latency_s + nbytes / self.hardware.host_bandwidth_bytes_per_s
        template = Template()
        template.send(name, to_ps(seconds), HOST)
        self.schedule.run(stage, [Run(template)], self.schedule.phases[-1].start_ps)

    def _walk(self, walls: list[PassWall], token: int, tokens: int, context: int, ready_ps: list[int]) -> list[int]:
        """One pass of all microbatches through all layers; returns when each is done."""
        begin_ns = perf_counter_ns()
        wall = PassWall(token, self.model.layers)
        walls.append(wall)
        shape = Pass(self.model, self.layout, self.request.dtype, self.request.element_bytes, tokens, context)
        runs = self._stage_runs(shape, wall)
        with phase("place"):
            done = self.schedule.passes(runs, ready_ps, token)
        wall.wall_ns = perf_counter_ns() - begin_ns
        return done

    def _stage_runs(self, shape: Pass, wall: PassWall) -> StageRuns:
        """What each stage does in this pass: its layers, the embedding and the head, and what it sends on."""
        dense = self.model.dense_layers
        start_ns = perf_counter_ns()
        with phase("build"):  # layers of a kind once, and all of a pass's products in one go
            kinds = [sparse for sparse in (False, True) if (dense < self.model.layers if sparse else dense)]
            groups = [shape.layer(sparse=sparse) for sparse in kinds]
            costs = self.pricer.price([*groups, shape.embedding(), shape.head()])
        built_ns = perf_counter_ns()
        with phase("gantt"):
            *composed, embedding, head = [self.composer.compose(each) for each in costs]
        wall.build_ns, wall.gantt_ns = built_ns - start_ns, perf_counter_ns() - built_ns
        wall.operators = [(template.computations, template.collectives) for template in composed]
        templates = dict(zip(kinds, composed, strict=True))
        last, first_layer, found = self.schedule.stages - 1, 0, []
        for stage, layers in enumerate(self.layout.stages):
            runs = [Run(embedding)] if stage == 0 else []
            end = first_layer + layers
            split = min(max(dense, first_layer), end)
            if first_layer < split:
                runs.append(Run(templates[False], first_layer, split - first_layer))
            if split < end:
                runs.append(Run(templates[True], split, end - split))
            if stage == last:
                runs.append(Run(head))
            if last:
                runs.append(Run(self._message(shape, stage, last)))
            found.append(runs)
            first_layer = end
        return found

    def _message(self, shape: Pass, stage: int, last: int) -> Template:
        """What a stage sends: its activations to the next one, or the last one's tokens to the first."""
        stride = self.spread.tensor * self.spread.data
        template = Template()
        if stage < last:
            seconds = point_to_point_s(self.hardware, stride, shape.stream_bytes)
            template.send("activations to the next stage", to_ps(seconds))
        else:
            seconds = point_to_point_s(self.hardware, stride * last, TOKEN_BYTES * self.layout.batch)
            template.send("tokens to the first stage", to_ps(seconds))
        return template
