"""The simulator's own speed by phase, its results to the picosecond, and the document's advice measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TypeVar

import pytest

from perfguard import Perfguard, phase
from perfguard.units import round_measured
from perfguard_suites.goals import note_goal
from perfguard_suites.simulator.config import Parallelism, Request, Scenario
from perfguard_suites.simulator.engine import Simulator, simulator_of
from perfguard_suites.simulator.ladder import DEFAULT, RUNGS, alternatives, climbs
from perfguard_suites.simulator.picture import lanes_of, panels_of
from perfguard_suites.simulator.pricing import to_ps
from perfguard_suites.simulator.trace import chrome_trace

COLD_GOAL_S = 50e-3
WARM_GOAL_S = 5e-3
TRACE_GOAL_S = 20e-3
LAYERS_GOAL = 1.5
FEW, MANY = 10, 60

SCENARIOS = {
    "yi-34b-h100": Scenario(),
    "llama-2-7b-a100": Scenario("llama-2-7b", "a100"),
    "yi-34b-npu-tp2": Scenario(hardware="npu-64", parallelism=Parallelism(tensor=2)),
    "gpt-3-h100-tp8": Scenario("gpt-3-175b", request=Request(1024), parallelism=Parallelism(tensor=8)),
    "yi-34b-h200-pp4": Scenario(
        hardware="h200", request=Request(batch=4), parallelism=Parallelism(pipeline=4, microbatches=4)
    ),
    "deepseek-v3-h100-ep32": Scenario(
        "deepseek-v3", request=Request(batch=32, dtype="fp8"), parallelism=Parallelism(tensor=8, data=4, expert=32)
    ),
}

T = TypeVar("T")


@pytest.fixture
def simulator(perfguard: Perfguard) -> Simulator:
    """60 layers, 2048 tokens of prompt and 4 of answer; an ordinary test run takes 2 layers of it."""
    simulator = simulator_of(Scenario(layers=0 if perfguard.enabled else 2))
    simulator.run()  # first use: imports, lists of tiles
    return simulator


def timed(fn: Callable[[], T], seconds: list[float]) -> Callable[[], T]:
    """The function, with what each call took kept in `seconds`."""

    def call() -> T:
        start = perf_counter()
        result = fn()
        seconds.append(perf_counter() - start)
        return result

    return call


@pytest.mark.perfguard(limit="50%")
def test_cold(perfguard: Perfguard, simulator: Simulator) -> None:
    """Nothing searched before: wall time by phase, what was searched, and how many tasks a second come out."""
    seconds: list[float] = []
    simulation = perfguard(timed(lambda: simulator.fresh().run(), seconds))
    found, tasks = simulation.statistics, simulation.gantt.tasks
    assert simulation.gantt.overlapping() == 0
    assert found.gemm_evaluations == found.unique_gemms, "each distinct product is searched once"
    perfguard.count("gemm_evaluations", found.gemm_evaluations)
    perfguard.count("gemm_cache_hits", found.gemm_hits)
    perfguard.count("tasks", tasks)
    perfguard.record("cold_60_layers_s", seconds, unit="s", gated=False)
    perfguard.record("tasks_per_s", [tasks / s for s in seconds], unit="tasks/s", kind="throughput", gated=False)
    note_goal(perfguard, f"{MANY} layers, nothing cached", median(seconds), at_most=COLD_GOAL_S, unit="s")


@pytest.mark.perfguard(limit="50%")
def test_warm(perfguard: Perfguard, simulator: Simulator) -> None:
    """The same simulation again: all its products are known."""
    seconds: list[float] = []
    before = simulator.evaluator.evaluations
    perfguard(timed(simulator.run, seconds))
    assert simulator.evaluator.evaluations == before, "nothing is searched again"
    perfguard.record("warm_60_layers_s", seconds, unit="s", gated=False)
    note_goal(perfguard, f"{MANY} layers, all products known", median(seconds), at_most=WARM_GOAL_S, unit="s")


@pytest.mark.perfguard(limit="50%", budget_s=0.6)
def test_trace_json(perfguard: Perfguard, simulator: Simulator) -> None:
    """Writing the chart for Perfetto."""
    gantt, seconds = simulator.run().gantt, list[float]()

    def write() -> str:
        with phase("write"):
            return chrome_trace(gantt)

    text = perfguard(timed(write, seconds))
    assert text.count('"ph":"X"') == gantt.tasks
    perfguard.record("trace_json_s", seconds, unit="s", gated=False)
    note_goal(perfguard, f"{gantt.tasks} tasks as JSON", median(seconds), at_most=TRACE_GOAL_S, unit="s")


@pytest.mark.perfguard(budget_s=0.8)
def test_layers(perfguard: Perfguard, simulator: Simulator) -> None:
    """Layers of one shape are evaluated once: six times as many cost little more."""
    many, few = simulator, simulator_of(Scenario(layers=FEW if perfguard.enabled else 1))
    comparison = perfguard.compare(
        {"few": lambda: few.fresh().run(), "many": lambda: many.fresh().run()}, reference="few", record=False
    )
    evaluations = {name: result.statistics.gemm_evaluations for name, result in comparison.results.items()}
    assert evaluations["few"] == evaluations["many"]
    perfguard.record_ratio(comparison, f"layers_{MANY}_over_{FEW}", "many", "few", limit=0.25)
    note_goal(perfguard, f"{MANY} layers over {FEW}", comparison.ratio("many", "few").estimate, at_most=LAYERS_GOAL)


@pytest.mark.perfguard(budget_s=2.0)
def test_ladder(perfguard: Perfguard, simulator: Simulator, tmp_path: Path) -> None:
    """Each piece of the document's advice beside the default: what it gains, and what it does to the result."""
    comparison = perfguard.compare(alternatives(simulator, tmp_path), reference=DEFAULT, record=False, settle=False)
    for rung in RUNGS:
        perfguard.record_ratio(
            comparison, f"default_over_{rung.name}", DEFAULT, rung.name, direction="higher", gated=False
        )
    if perfguard.enabled:
        times_s = {name: times.tolist() for name, times in comparison.times_s.items()}
        for one in climbs(comparison.results, times_s):
            perfguard.note(f"{one} (the document: {one.rung.promise})")


@pytest.mark.parametrize("name", SCENARIOS)
def test_simulated(perfguard: Perfguard, name: str) -> None:
    """What is simulated, exactly: any change of these figures is a change of the model, not of its speed.

    Picoseconds compare across machines; seconds, at the precision of a baseline, are what other programs read.
    """
    simulation = simulator_of(SCENARIOS[name]).run()
    found = simulation.statistics
    assert simulation.gantt.overlapping() == 0
    assert found.total_ps == sum(one.simulated_ps for one in found.phases.values())
    perfguard.record("simulated_ttft_s", round_measured(found.ttft_s), unit="s", limit=0.0)
    perfguard.record("simulated_tpot_s", round_measured(found.tpot_s), unit="s", limit=0.0)
    perfguard.count("simulated_ttft_ps", to_ps(found.ttft_s), unit="ps")
    perfguard.count("simulated_total_ps", found.total_ps, unit="ps")
    for panel in panels_of(simulation.gantt, name):
        perfguard.picture(lanes_of(panel))
    prefill, decode = found.phases["Prefill"], found.phases["Decode"]
    perfguard.note(
        f"MFU {prefill.mfu:.1%} in prefill, MBU {decode.mbu:.1%} in decode, bubble {prefill.bubble:.1%} and "
        f"{decode.bubble:.1%}, {found.tokens_per_s:.1f} tokens/s"
    )
