"""Streamed layers: how much loading hides behind computing, under which policy, and beside what others do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import pytest
import torch

from perfguard import Perfguard, phase
from perfguard.noise import NoiseMeter
from perfguard.spans import Overlap, Recorder, recording
from perfguard_suites.goals import note_goal
from perfguard_suites.weight_streaming import accelerated, baselines
from perfguard_suites.weight_streaming.bench import Bench, SourceName, Timed, config_for, overlaps, pin_compute
from perfguard_suites.weight_streaming.config import POLICIES
from perfguard_suites.weight_streaming.conftest import OpenBench
from perfguard_suites.weight_streaming.policy import loads_of_a_pass
from perfguard_suites.weight_streaming.timeline import lanes_of
from perfguard_suites.weight_streaming.validity import Validity

IDEAL_GOAL = {"warm": 1.10, "direct": 1.10, "cold": 1.25}
SMALL_LAYERS_GOAL = 1.25
HANDOFF_GOAL_S = 50e-6
RATIO_LIMIT = 0.25


def in_turn(perfguard: Perfguard, timed: Mapping[str, Timed]) -> float:
    """Call all in turn, in random order each round; drops the warm-up; the share of the CPUs that others had."""
    meter = NoiseMeter()
    pin_compute()
    for each in timed.values():
        each()
        each.forget()
    comparison = perfguard.compare(timed, record=False, block_s=0.0, settle=False)
    for each in timed.values():  # calibration made calls of its own
        del each.traces[: -comparison.rounds], each.walls_s[: -comparison.rounds]
    return sum(meter.read())


def validity_of(timed: Timed, others: float, expected_bytes: int) -> Validity:
    """Of all calls of one alternative."""
    return Validity(
        timed.wall_ns / 1e9, timed.queued_ns / max(1, timed.wall_ns), others, 0.0, timed.disk_bytes, expected_bytes
    )


@pytest.mark.perfguard(limit="25%", budget_s=1.2)
@pytest.mark.parametrize("policy", ["lookahead"])
def test_overlap(
    perfguard: Perfguard, bench: OpenBench, layers: str, source: SourceName, ratio: str, policy: str
) -> None:
    """One pass after the other, streamed, beside the same in turn, the seed's scheme and accelerate's offload."""
    chosen = bench(layers, source, ratio)
    config = config_for(source, policy)  # type: ignore[arg-type]
    timed = {"stream": chosen.streamed("stream", config), "serial": chosen.serial()}
    thorough = perfguard.profile in ("standard", "full")
    if ratio == "1:1" or thorough:
        timed["seed"] = chosen.seed()
        if source == "warm":  # the page cache itself as memory: nothing is copied
            timed["map"] = chosen.streamed("map", config_for(source, policy, reading="map"))  # type: ignore[arg-type]
            if accelerated.available():  # which reads from the page cache: comparable only where that is the source
                timed["accelerate"] = chosen.accelerate()
    others = in_turn(perfguard, timed)
    stream = timed["stream"]
    asked_bytes = stream.calls * chosen.passes * chosen.model.layers * _layer_bytes(chosen)
    valid = validity_of(stream, others, 0 if source == "warm" else asked_bytes)
    perfguard.note(f"{len(chosen.ids)} token rows a pass, {chosen.passes} passes a call; {valid}")
    perfguard.note(f"opening took {1e3 * chosen.opening_s['stream']:.0f} ms, and is in no figure")
    found = overlaps(stream, timed["serial"])
    record_overlap(perfguard, found, stream, gated=not valid.noisy_because)
    note_goals(perfguard, found, stream, layers, source)
    for name, title in {"stream": "streamed", "serial": "in turn", "seed": "the seed's scheme"}.items():
        if name in timed:
            perfguard.picture(lanes_of(timed[name].traces[-1], f"{title}, {layers} layers, {source}, {ratio}"))
    peak = max(trace.most_present for trace in stream.traces)
    perfguard.count("resident_layers_max", peak, unit="layers")
    assert peak <= config.slots
    gains = [("over_seed_scheme", "seed", "stream"), ("over_accelerate", "accelerate", "stream")]
    gains += [("map_over_seed_scheme", "seed", "map"), ("map_over_accelerate", "accelerate", "map")]
    for metric, theirs, ours in gains:
        if theirs in timed and ours in timed:
            ratios = [one / other for one, other in zip(timed[theirs].walls_s, timed[ours].walls_s, strict=True)]
            perfguard.record(
                metric, ratios, unit="", kind="ratio", direction="higher", gated=not valid.noisy_because, limit=0.3
            )
            note_goal(perfguard, metric, median(ratios), at_least=1.5 if theirs == "seed" and ratio == "1:1" else 1.0)


def _layer_bytes(chosen: Bench) -> int:
    return sum(
        4 * torch.Size(shape).numel()
        for name, shape in baselines.layer_shapes(chosen.model).items()
        if name.startswith("model.layers.0.")
    )


def record_overlap(perfguard: Perfguard, found: Sequence[Overlap], stream: Timed, *, gated: bool) -> None:
    """The five figures, because each alone can mislead, and what the compute waited."""
    figures = {
        "overlapped_over_ideal": ("ratio", "lower", True),
        "overlap_efficiency": ("fraction", "higher", True),
        "copy_hidden": ("fraction", "higher", False),
        "realised_saving": ("fraction", "higher", False),
        "compute_stretch": ("ratio", "lower", False),
        "copy_stretch": ("ratio", "lower", False),
        "utilisation": ("fraction", "higher", False),
    }
    for name, (kind, direction, gate) in figures.items():
        perfguard.record(
            name,
            [getattr(each, name) for each in found],
            unit="",
            kind=kind,  # type: ignore[arg-type]
            direction=direction,  # type: ignore[arg-type]
            gated=gate and gated,
            limit=RATIO_LIMIT,
        )
    waits = [trace.wait_per_layer_s() for trace in stream.traces]
    perfguard.record("weight_wait_per_layer_s", waits, unit="s", gated=False)
    perfguard.record(
        "load_over_compute",
        [each.copy_alone_s / each.compute_alone_s for each in found],  # type: ignore[operator]
        unit="",
        kind="ratio",
        gated=False,
    )
    perfguard.account(
        (
            trace.wall_s,
            {
                "weight_wait": sum(w.end_ns - w.start_ns for w in trace.waits) / 1e9,
                "compute": sum(c.end_ns - c.start_ns for c in trace.computes) / 1e9,
                "evict": sum(e.end_ns - e.start_ns for e in trace.evicts) / 1e9,
            },
        )
        for trace in stream.traces
    )


def note_goals(perfguard: Perfguard, found: Sequence[Overlap], stream: Timed, layers: str, source: SourceName) -> None:
    """What the design should reach, beside what this run did."""

    def of(name: str) -> float:
        return float(median(getattr(each, name) for each in found))

    bound = SMALL_LAYERS_GOAL if layers == "2MiB" else IDEAL_GOAL[source]
    ceiling = found[0].overlap_ceiling
    note_goal(perfguard, "T over the ideal pipeline", of("overlapped_over_ideal"), at_most=bound)
    note_goal(perfguard, "interval overlap", of("overlap_efficiency"), at_least=0.9 * ceiling)
    note_goal(perfguard, "realised saving", of("realised_saving"), at_least=0.7)
    note_goal(perfguard, "stretch of compute", of("compute_stretch"), at_most=1.15)
    handoffs = [each for trace in stream.traces for each in trace.handoffs_ns()]
    if handoffs:
        note_goal(perfguard, "hand-off of a ready layer", median(handoffs) / 1e9, at_most=HANDOFF_GOAL_S, unit="s")
        perfguard.record("handoff_s", median(handoffs) / 1e9, unit="s", gated=False)
    wakes = [each for trace in stream.traces for each in trace.wakes_ns]
    if wakes:
        perfguard.record("wake_s", median(wakes) / 1e9, unit="s", gated=False)


@pytest.mark.perfguard(limit="25%", budget_s=1.2)
def test_policies(perfguard: Perfguard, bench: OpenBench, layers: str) -> None:
    """Every policy on the same memory, where loading takes twice as long as computing: fewer loads are less time."""
    chosen = bench(layers, "warm", "2:1")
    configs = {policy: config_for("warm", policy) for policy in POLICIES}
    timed: dict[str, Timed] = {policy: chosen.streamed(policy, config) for policy, config in configs.items()}
    others = in_turn(perfguard, timed)
    expected = baselines.resident(chosen.folder, chosen.model, chosen.ids, "float32")(1)
    for name, each in timed.items():
        logits, trace = each.call()
        assert torch.equal(logits, expected), name
        assert trace.most_present <= configs["lookahead"].slots
        perfguard.record(f"{name}_wait_per_layer_s", [t.wait_per_layer_s() for t in each.traces], unit="s", gated=False)
        if name != "lookahead":
            ratios = [one / base for one, base in zip(each.walls_s, timed["lookahead"].walls_s, strict=True)]
            perfguard.record(f"{name}_over_lookahead", ratios, unit="", kind="ratio", gated=False)
    for policy, config in configs.items():
        loads = loads_of_a_pass(config, chosen.model.layers)
        perfguard.count(f"{policy}_loads_a_pass", loads, unit="layers")
    perfguard.note(f"others had {others:.1%} of the CPUs; {len(chosen.ids)} token rows a pass")


@pytest.mark.perfguard(limit="25%", budget_s=1)
def test_load_bandwidth(perfguard: Perfguard, bench: OpenBench, layers: str) -> None:
    """The engine's loads beside a plain loop of `readinto` over the same bytes, into memory of the same kind."""
    chosen = bench(layers, "warm", "1:1")
    config = config_for("warm", "lookahead")
    streamer = chosen.streamer(config)
    with baselines.page_aligned(streamer.store.slot_bytes) as memory, contextlib.ExitStack() as stack:
        plain = stack.enter_context(baselines.plain_readinto(streamer.store, memory))
        timed = {"plain": Timed(lambda: plain(chosen.passes)), "engine": chosen.loading(config)}
        in_turn(perfguard, timed)
    fractions = [one / other for one, other in zip(timed["plain"].walls_s, timed["engine"].walls_s, strict=True)]
    perfguard.record("load_bandwidth_fraction", fractions, unit="", kind="fraction", direction="higher", limit=0.25)
    speed = chosen.passes * streamer.store.model_bytes / median(timed["engine"].walls_s)
    perfguard.record("load_bandwidth", speed, unit="B/s", kind="throughput", gated=False)
    note_goal(perfguard, "bandwidth over a plain readinto loop", median(fractions), at_least=0.9)


@pytest.mark.perfguard(limit="25%", budget_s=1)
def test_span_cost(perfguard: Perfguard, bench: OpenBench, layers: str) -> None:
    """What perfguard's phases cost a pass: recorded, over not recorded."""
    chosen = bench(layers, "warm", "1:1")
    timed = chosen.streamed("bare", config_for("warm", "lookahead"))
    recorder = Recorder()

    def recorded() -> object:
        with recording(recorder):
            result = timed.call()
        recorder.take_round()
        return result

    pairs = {"bare": Timed(timed.call), "recorded": Timed(recorded)}
    in_turn(perfguard, pairs)
    ratios = [one / other for one, other in zip(pairs["recorded"].walls_s, pairs["bare"].walls_s, strict=True)]
    perfguard.record("spans_over_bare", ratios, unit="", kind="ratio", gated=False)
    spans = sum(1 for _ in _spans_of(recorder, timed.call)) / chosen.passes
    cost_s = spans * span_cost_s()
    perfguard.record(
        "span_cost_fraction",
        cost_s / (median(pairs["bare"].walls_s) / chosen.passes),
        unit="",
        kind="fraction",
        gated=False,
    )
    note_goal(
        perfguard,
        "spans of a token, of its time",
        100 * cost_s / median(pairs["bare"].walls_s) * chosen.passes,
        at_most=1.0,
        unit="%",
        remark=f"{spans:.0f} spans; passes with over without {median(ratios):.3f}",
    )


def _spans_of(recorder: Recorder, call: Callable[[], object]) -> list[object]:
    with recording(recorder):
        call()
    return list(recorder.take_round().spans)


def span_cost_s(count: int = 2000) -> float:
    """Seconds that one recorded phase costs the thread that enters it."""

    def enter() -> None:
        for _ in range(count):
            with phase("compute"):
                pass

    recorder, probe = Recorder(), Timed(enter)
    with recording(recorder):
        probe()
        probe()
    recorder.take_round()
    return probe.walls_s[-1] / count


@pytest.mark.perfguard(limit="25%")
def test_token(perfguard: Perfguard, bench: OpenBench, layers: str) -> None:
    """One pass as the account has it: the stall, the arithmetic, and the rest; loads on the readers' own lanes."""
    chosen = bench(layers, "warm", "1:1")
    chosen.passes = 1
    timed = chosen.streamed("token", config_for("warm", "lookahead"))
    pin_compute()
    timed()
    perfguard(timed.call)
