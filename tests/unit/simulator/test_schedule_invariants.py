"""What holds of every simulation, whatever the model, the device, the options and the spread."""

from __future__ import annotations

import logging
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from perfguard_suites.simulator.config import Parallelism, Request, SimulationConfig
from perfguard_suites.simulator.engine import Simulation, Simulator, evaluator_of
from perfguard_suites.simulator.errors import LayoutError
from perfguard_suites.simulator.gemm import roofline_s
from perfguard_suites.simulator.hardware import PRESETS, Hardware, load_hardware
from perfguard_suites.simulator.models import Mla, ModelShape, Moe
from perfguard_suites.simulator.operators import Pass
from perfguard_suites.simulator.walls import LOGGER

DEVICES = {name: load_hardware(name) for name in PRESETS}
PHASE_COUNT = 4


@st.composite
def models(draw: st.DrawFn) -> ModelShape:
    """Small transformers of every kind."""
    kv_heads, groups = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2, 8]))
    mla = Mla(draw(st.sampled_from([0, 48])), 32, 16, 8, 24) if draw(st.booleans()) else None
    layers = draw(st.integers(1, 5))
    moe = Moe(8, 2, 64, draw(st.integers(0, 1)), draw(st.integers(0, layers))) if draw(st.booleans()) else None
    return ModelShape(
        "made", draw(st.sampled_from([64, 256, 1000])), layers, kv_heads * groups, kv_heads, 32,
        draw(st.sampled_from([128, 512])), 1000, 1 << 16, draw(st.booleans()), draw(st.booleans()), mla, moe,
    )  # fmt: skip


CONFIGS = st.builds(
    SimulationConfig,
    max_simulated_tokens=st.integers(1, 5),
    use_precise_evaluator=st.sampled_from([False, False, True]),
    evaluation_granularity=st.sampled_from(["fine", "coarse"]),
    enable_data_transfer=st.booleans(),
    enable_kv_cache=st.booleans(),
    enable_overlap=st.booleans(),
    enable_comm_overlap=st.booleans(),
)
SPREADS = st.builds(
    Parallelism,
    tensor=st.sampled_from([1, 1, 2, 4]),
    pipeline=st.integers(1, 3),
    data=st.sampled_from([1, 2]),
    expert=st.sampled_from([1, 1, 2, 4]),
    microbatches=st.sampled_from([1, 2]),
)
REQUESTS = st.builds(
    Request, prompt_tokens=st.integers(1, 300), output_tokens=st.integers(1, 7), batch=st.sampled_from([4, 8])
)


def simulator_of(
    model: ModelShape, hardware: Hardware, config: SimulationConfig, request: Request, spread: Parallelism
) -> Simulator:
    """A simulator, or no example where these do not go together."""
    try:
        return Simulator(model, hardware, config, request, spread, evaluator_of(hardware, config))
    except LayoutError:
        assume(False)
        raise


def same(one: Simulation, other: Simulation) -> bool:
    """Whether two simulations put every task at the same time on the same resource."""
    mine, theirs = one.gantt, other.gantt
    columns = [field.name for field in fields(mine) if isinstance(getattr(mine, field.name), np.ndarray)]
    return mine.names == theirs.names and all(
        np.array_equal(getattr(mine, name), getattr(theirs, name)) for name in columns
    )


@settings(max_examples=60, deadline=None)
@given(models(), st.sampled_from(PRESETS), CONFIGS, REQUESTS, SPREADS)
def test_every_schedule_is_one(
    model: ModelShape, device: str, config: SimulationConfig, request: Request, spread: Parallelism
) -> None:
    """No two tasks at once on a resource; phases meet and sum to the total; fractions are fractions; one search each.

    A second run, from what the first has searched, is the same to the picosecond.
    """
    simulator = simulator_of(model, DEVICES[device], config, request, spread)
    found = simulator.run()
    gantt, statistics = found.gantt, found.statistics
    assert gantt.overlapping() == 0
    assert gantt.tasks > 0
    assert gantt.duration_ps.min() > 0
    assert statistics.total_ps == sum(one.simulated_ps for one in statistics.phases.values())
    assert statistics.total_ps == int(gantt.end_ps.max())
    assert [int(gantt.end_ps[gantt.phase <= phase].max(initial=0)) for phase in range(PHASE_COUNT)] == list(
        gantt.phase_ends_ps
    )
    assert all(
        int(gantt.start_ps[gantt.phase == p].min(initial=1 << 62)) >= gantt.phase_ends_ps[p - 1] for p in (1, 2, 3)
    )
    for one in statistics.phases.values():
        shares = (one.mfu, one.mbu, one.bubble, one.communication, one.exposed_communication)
        assert all(0 <= share <= 1 for share in shares), shares
    assert statistics.gemm_evaluations == statistics.unique_gemms
    assert same(found, simulator.run())


@settings(max_examples=25, deadline=None)
@given(models(), st.sampled_from(PRESETS), CONFIGS, REQUESTS, SPREADS)
def test_overlap_never_costs_time(
    model: ModelShape, device: str, config: SimulationConfig, request: Request, spread: Parallelism
) -> None:
    """With either overlap on, every phase takes at most as long as without."""
    for option in ("enable_overlap", "enable_comm_overlap"):
        without, with_ = (
            simulator_of(model, DEVICES[device], replace(config, **{option: on}), request, spread).run().statistics
            for on in (False, True)
        )
        for name, one in with_.phases.items():
            assert one.simulated_ps <= without.phases[name].simulated_ps


@settings(max_examples=25, deadline=None)
@given(models(), st.sampled_from(PRESETS), CONFIGS, REQUESTS, SPREADS, st.floats(1.0, 4.0))
def test_more_bandwidth_is_never_slower(
    model: ModelShape, device: str, config: SimulationConfig, request: Request, spread: Parallelism, factor: float
) -> None:
    """Faster links, host and memory: at most the same simulated time, phase by phase."""
    slow = DEVICES[device]
    links = tuple(replace(link, bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * factor) for link in slow.levels)
    base = simulator_of(model, slow, config, request, spread).run().statistics
    for fast in (
        replace(slow, levels=links),
        replace(slow, host_bandwidth_bytes_per_s=slow.host_bandwidth_bytes_per_s * factor),
        replace(slow, dram_bandwidth_bytes_per_s=slow.dram_bandwidth_bytes_per_s * factor),
    ):
        found = simulator_of(model, fast, config, request, spread).run().statistics
        for name, one in found.phases.items():
            assert one.simulated_ps <= base.phases[name].simulated_ps


@settings(max_examples=25, deadline=None)
@given(models(), st.sampled_from(PRESETS), CONFIGS, st.integers(1, 300))
def test_no_prefill_beats_its_roofline(model: ModelShape, device: str, config: SimulationConfig, prompt: int) -> None:
    """On one device, a prefill of single operators takes at least the rooflines of all its products together."""
    config, request = replace(config, max_simulated_tokens=1, evaluation_granularity="fine"), Request(prompt, 1)
    simulator = simulator_of(model, DEVICES[device], config, request, Parallelism())
    shape = Pass(model, simulator.layout, request.dtype, request.element_bytes, prompt, prompt)
    layers = [shape.layer(sparse=layer >= model.dense_layers) for layer in range(model.layers)]
    products = [gemm for operators in (*layers, shape.head()) for gemm in shape.products(operators)]
    least_s = sum(roofline_s(simulator.hardware, gemm) for gemm in products)
    assert simulator.run().statistics.phases["Prefill"].simulated_s >= least_s * (1 - 1e-12)


@pytest.mark.parametrize("level", [logging.CRITICAL, logging.INFO, logging.DEBUG])
def test_logging_changes_no_time(caplog: pytest.LogCaptureFixture, level: int) -> None:
    """The chart is the same, whatever is logged; at INFO the document's lines are there, in its order."""
    model = ModelShape("made", 256, 3, 8, 2, 32, 512, 1000, 4096)
    config, request = SimulationConfig(use_precise_evaluator=False), Request(64, 2)
    simulator = simulator_of(model, DEVICES["h100"], config, request, Parallelism(tensor=2))
    silent = simulator.run()
    with caplog.at_level(level, LOGGER.name):
        assert same(simulator.run(), silent)
    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER.name]
    if level > logging.INFO:
        assert lines == []
        return
    starts = [line.strip().split(":")[0] for line in lines]
    layer = "one layer evaluated"
    assert starts == [
        "[H2D] wall time", "[Prefill] wall time", layer, "[Decode] wall time", "Token 0/2", layer, "Token 1/2", layer,
        "[D2H] wall time", "[Gantt Build] wall time", "[Stats] wall time", "[Total] total wall time",
    ]  # fmt: skip
    assert "walked 3 layers" in lines[4]
    assert "ops=13+2" in lines[2]


@pytest.mark.parametrize("variables", [{}, {"GEMM_DISABLE_MULTIPROCESS": "1"}])
def test_processes_and_caches_change_no_time(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Searched here, searched by others, or known already: the same chart."""
    model, config = ModelShape("made", 256, 3, 8, 2, 32, 512, 1000, 4096), SimulationConfig()
    simulator = simulator_of(model, DEVICES["npu-64"], config, Request(64, 2), Parallelism(tensor=2))
    first = simulator.run()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert same(first, simulator.fresh().run())
    assert same(first, simulator.run())
