"""Charts, files and figures: each says what the schedule is, and what cannot be is an error, not a clamped number."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from perfguard_suites.simulator.config import Parallelism, Request, SimulationConfig
from perfguard_suites.simulator.engine import Simulation, Simulator, evaluator_of
from perfguard_suites.simulator.errors import ConfigurationError, ImpossibleFigure
from perfguard_suites.simulator.gantt import Gantt
from perfguard_suites.simulator.hardware import load_hardware
from perfguard_suites.simulator.models import ModelShape, Moe, model_of
from perfguard_suites.simulator.operators import Elementwise
from perfguard_suites.simulator.picture import picture
from perfguard_suites.simulator.pricing import Pricer, to_ps
from perfguard_suites.simulator.statistics import utilisation
from perfguard_suites.simulator.trace import chrome_trace, document_gantt

H100 = load_hardware("h100")
CLOSED_FORM = SimulationConfig(use_precise_evaluator=False)
SMALL = ModelShape("made", 512, 6, 8, 2, 64, 2048, 1000, 1 << 16, moe=Moe(8, 2, 256, 1, 2))


def simulate(
    model: ModelShape = SMALL,
    config: SimulationConfig = CLOSED_FORM,
    request: Request = Request(100, 3, 4),  # noqa: B008 - frozen
    spread: Parallelism = Parallelism(),  # noqa: B008 - frozen
) -> Simulation:
    """One simulation on an H100."""
    return Simulator(model, H100, config, request, spread, evaluator_of(H100, config)).run()


@pytest.fixture(scope="module")
def pipelined() -> Simulation:
    """Two stages of two tensor ranks, two microbatches: tasks on every kind of resource."""
    return simulate(spread=Parallelism(tensor=2, pipeline=2, microbatches=2))


EVENT_FIELDS = {"name": str, "ph": str, "pid": int, "tid": int, "ts": float, "dur": float, "cat": str, "args": dict}
METADATA = {
    "process_name": "name",
    "thread_name": "name",
    "process_sort_index": "sort_index",
    "thread_sort_index": "sort_index",
}


def complete_events(text: str) -> list[dict[str, Any]]:
    """The complete events of a trace, after holding all of it to the trace event format, strictly.

    JSON object format; only metadata (M) and complete (X) events; every field of its documented type and no other; each
    thread named once; on a thread, events neither overlap nor nest, for a tool that adds floats either.
    """
    raw = json.loads(text, parse_constant=pytest.fail)
    assert set(raw) == {"traceEvents", "displayTimeUnit"}
    assert raw["displayTimeUnit"] in ("ms", "ns")
    complete, named = [], []
    for event in raw["traceEvents"]:
        if event["ph"] == "M":
            assert set(event) == {"name", "ph", "pid", "tid", "args"}
            assert set(event["args"]) == {METADATA[event["name"]]}
            named += [(event["pid"], event["tid"])] if event["name"] == "thread_name" else []
            continue
        assert event["ph"] == "X"
        assert set(event) == set(EVENT_FIELDS)
        assert all(type(event[key]) is kind for key, kind in EVENT_FIELDS.items())
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        complete.append(event)
    assert len(named) == len(set(named))
    assert {(event["pid"], event["tid"]) for event in complete} <= set(named)
    by_thread: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in complete:
        by_thread.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in by_thread.values():
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    return complete


def test_the_trace_is_of_the_trace_event_format(pipelined: Simulation) -> None:
    """Strictly valid, one complete event a task, at its time to the nanosecond, on its own thread."""
    gantt, events = pipelined.gantt, complete_events(chrome_trace(pipelined.gantt))
    assert len(events) == gantt.tasks
    kinds = len({resource.kind for resource in gantt.resources})
    for row, event in enumerate(events):
        assert round(event["ts"] * 1000) == gantt.start_ps[row] // 1000
        assert event["pid"] * kinds + event["tid"] == gantt.resource[row]
        assert event["name"] == gantt.names[gantt.name[row]]
        assert event["args"]["layer"] == (None if gantt.layer[row] < 0 else gantt.layer[row])
        assert event["args"]["token"] == gantt.token[row]


def test_the_documents_shape_has_every_task(pipelined: Simulation) -> None:
    """`resources`, `tasks` with phase, layer, token and `timeRange` to the picosecond, and where decoding begins."""
    gantt, found = pipelined.gantt, json.loads(document_gantt(pipelined.gantt))
    assert set(found) == {"timeUnit", "timeRange", "phaseTransition", "resources", "tasks"}
    assert found["phaseTransition"] == pytest.approx(pipelined.statistics.ttft_s * 1e6)
    assert found["timeRange"] == {"start": 0, "end": pytest.approx(pipelined.statistics.total_ps / 1e6)}
    assert len(found["tasks"]) == gantt.tasks
    known = {resource["id"] for resource in found["resources"]}
    for row, task in enumerate(found["tasks"]):
        assert task["resource"] in known
        assert round(task["timeRange"]["start"] * 1e6) == gantt.start_ps[row]
        assert round(task["timeRange"]["end"] * 1e6) == gantt.end_ps[row]
        assert task["phase"] in ("h2d", "prefill", "decode", "d2h")
    layers = {(task["phase"], task["token"], task["layer"]) for task in found["tasks"]}
    assert {("prefill", 0, layer) for layer in range(6)} <= layers
    assert {("decode", token, layer) for token in range(3) for layer in range(6)} <= layers


def test_the_picture_is_svg(pipelined: Simulation) -> None:
    """Well-formed, a box for each pass of each stage and for each task of the two layers shown."""
    root = ET.fromstring(picture(pipelined.gantt, "a <title> & more"))
    assert root.tag.endswith("svg")
    tips = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    passes = 2 * 2 * (1 + 3)
    assert sum(tip.startswith(("Prefill", "Decode")) for tip in tips) == passes
    assert any(tip.startswith("feed-forward all-reduce") for tip in tips)


def test_a_pipeline_has_the_bubble_it_must_have() -> None:
    """Equal stages of m microbatches idle (s - 1) / (s - 1 + m) of a prefill (GPipe, 2.3); one stage never does."""
    model = replace(SMALL, layers=32, moe=None)
    for stages, microbatches in ((4, 1), (4, 2), (4, 4), (8, 1)):
        spread = Parallelism(pipeline=stages, microbatches=microbatches)
        bubble = simulate(model, request=Request(2000, 1, 4), spread=spread).statistics.phases["Prefill"].bubble
        assert bubble == pytest.approx((stages - 1) / (stages - 1 + microbatches), abs=0.03)
    assert simulate(model).statistics.phases["Prefill"].bubble == 0


def exposed_ps(gantt: Gantt, phase: int) -> int:
    """From the tasks alone: how long some link of stage 0 is busy while its compute is not."""
    edges: list[tuple[int, int, str]] = []
    for row in np.flatnonzero(gantt.phase == phase):
        kind = gantt.resources[gantt.resource[row]].kind
        edges += [(int(gantt.start_ps[row]), 1, kind), (int(gantt.end_ps[row]), -1, kind)]
    busy = {"compute": 0, "link": 0, "dma": 0}
    exposed = last = 0
    for now, step, kind in sorted(edges):
        exposed += now - last if busy["link"] and not busy["compute"] else 0
        busy[kind] += step
        last = now
    return exposed


def test_overlapped_communication_is_less_exposed() -> None:
    """In parts, the same collective lies beside the product that feeds it; without the option, all of it is exposed."""
    model, request, spread = model_of("gpt-3-175b").first_layers(3), Request(1024, 1), Parallelism(tensor=8)
    with_, without = (
        simulate(model, replace(CLOSED_FORM, enable_comm_overlap=on), request, spread) for on in (True, False)
    )
    parts, whole = with_.statistics.phases["Prefill"], without.statistics.phases["Prefill"]
    assert whole.exposed_communication == whole.communication > 0
    assert parts.exposed_communication < parts.communication
    assert parts.simulated_ps < whole.simulated_ps
    for one, found in ((with_, parts), (without, whole)):
        assert found.exposed_communication == pytest.approx(exposed_ps(one.gantt, 1) / found.simulated_ps)


def test_parts_that_would_take_longer_are_not_made() -> None:
    """Where messages cost more than bytes, four of them are slower than one: the collective stays whole."""
    model, request, spread = model_of("llama-2-7b").first_layers(2), Request(8, 1, 4), Parallelism(tensor=8)
    with_, without = (
        simulate(model, replace(CLOSED_FORM, enable_comm_overlap=on), request, spread) for on in (True, False)
    )
    assert with_.gantt.tasks == without.gantt.tasks
    assert with_.statistics.total_ps == without.statistics.total_ps


def test_without_overlap_memory_and_computation_take_turns() -> None:
    """Never both at once, and elementwise work takes their sum and a launch; with overlap, the longer and a launch.

    Picoseconds are rounded up, so that nothing falls below its roofline.
    """
    work = Elementwise("made", "attention", 10**9, 10**9)
    compute_s, memory_s = 1e9 / H100.vector_flops_per_s, 1e9 / H100.dram_bandwidth_bytes_per_s
    for on, expected_s in ((True, max(compute_s, memory_s)), (False, compute_s + memory_s)):
        config = replace(CLOSED_FORM, enable_overlap=on)
        ((cost,),) = Pricer(evaluator_of(H100, config), chunked=False).price([[work]])
        assert cost.latency_ps == to_ps(expected_s + H100.launch_overhead_s)
    assert to_ps(1.2e-12) == 2
    gantt = simulate(config=replace(CLOSED_FORM, enable_overlap=False)).gantt
    assert replace(gantt, resource=np.where(gantt.resource == 1, 0, gantt.resource)).overlapping() == 0


def test_the_cache_spares_the_context() -> None:
    """Without it, a step computes all positions again: a prefill's worth of operations."""
    with_, without = (
        simulate(model_of("llama-2-7b"), replace(CLOSED_FORM, enable_kv_cache=on), Request(2048, 2))
        for on in (True, False)
    )
    assert without.statistics.tpot_s > 5 * with_.statistics.tpot_s
    assert without.statistics.ttft_s == with_.statistics.ttft_s


def test_no_transfer_no_time() -> None:
    """Without data transfer its phases are empty and cost nothing."""
    found = simulate(config=replace(CLOSED_FORM, enable_data_transfer=False)).statistics.phases
    assert [found[name].simulated_ps for name in ("H2D", "D2H")] == [0, 0]


def test_few_steps_stand_for_a_long_answer() -> None:
    """4 steps spread over 400 give the same mean as 100 of them within 1 %, and the request counts all 400."""
    few, many = (
        simulate(model_of("llama-2-7b"), replace(CLOSED_FORM, max_simulated_tokens=steps), Request(512, 400)).statistics
        for steps in (4, 100)
    )
    assert few.tpot_s == pytest.approx(many.tpot_s, rel=0.01)
    assert few.request_s == pytest.approx(few.ttft_s + 400 * few.tpot_s, rel=1e-3)


def test_coarse_and_fine_differ_and_by_how_much_is_known() -> None:
    """A coarse block is launched once: never slower than its operators one by one, and far fewer tasks."""
    fine, coarse = (simulate(config=replace(CLOSED_FORM, evaluation_granularity=how)) for how in ("fine", "coarse"))
    assert coarse.statistics.total_ps < fine.statistics.total_ps
    assert coarse.gantt.tasks < fine.gantt.tasks / 2


def test_an_impossible_utilisation_is_an_error() -> None:
    """More operations than the peak allows: the peak is wrong, and nobody clamps it to 1."""
    assert utilisation("MFU", 1.0, 1.0) == 1.0
    with pytest.raises(ImpossibleFigure, match=r"Prefill: MFU: 1\.5000 is above 1"):
        utilisation("Prefill: MFU", 3, 2)


def test_a_million_tokens_are_refused_or_fast() -> None:
    """A prompt beyond the model's positions is refused, one within them priced like any; too many tasks are refused."""
    million = replace(SMALL, moe=None, max_positions=1 << 22)
    with pytest.raises(ConfigurationError, match="1000003 exceed the 65536 positions"):
        simulate(request=Request(1_000_000, 3))
    found = simulate(million, request=Request(1_000_000, 1_000_000))
    assert found.statistics.simulated_tokens == 4
    assert found.gantt.tasks < 2000
    with pytest.raises(ConfigurationError, match="a chart holds"):
        simulate(
            replace(million, layers=40),
            replace(CLOSED_FORM, max_simulated_tokens=4096),
            Request(10, 4096, 64),
            Parallelism(microbatches=64),
        )


def test_an_evaluator_of_another_device_is_refused() -> None:
    """Its figures would be of that device."""
    other = evaluator_of(load_hardware("a100"), CLOSED_FORM)
    with pytest.raises(ConfigurationError, match="another device"):
        Simulator(SMALL, H100, CLOSED_FORM, Request(), Parallelism(), other)


def test_columns_say_what_the_figures_say(pipelined: Simulation) -> None:
    """Busy time by the chart's columns is what the statistics count from pieces."""
    gantt, found = pipelined.gantt, pipelined.statistics
    links = [index for index, resource in enumerate(gantt.resources) if resource.kind in ("link", "host")]
    for phase, (name, one) in enumerate(found.phases.items()):
        on_links = np.isin(gantt.resource, links) & (gantt.phase == phase)
        stages_ps = 2 * one.simulated_ps
        assert one.communication == pytest.approx(int(gantt.duration_ps[on_links].sum()) / stages_ps), name
        assert one.tasks == int(np.count_nonzero(gantt.phase == phase))
