"""The time model: it recovers known costs, adds up by parts, and the plan says when a prediction did not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfguard.stats.quantiles import Interval
from perfguard_suites.split_rpc.config import config_of
from perfguard_suites.split_rpc.ladder import BEST_HONEST, STEPS, StepResult
from perfguard_suites.split_rpc.micro_calls import programs
from perfguard_suites.split_rpc.time_model import (
    PARTS,
    Point,
    TimeModel,
    compute_features,
    exposed_s,
    fit,
    fit_costs,
    transport_of,
)
from perfguard_suites.split_rpc.traffic import predict
from perfguard_suites.split_rpc.variants import QUICK, VARIANTS
from perfguard_suites.transport.latency_model import SizePoint

CONFIG = config_of("tiny")
SIZES = ((0, 0), (10**6, 0), (0, 10**6), (10**6, 10**6), (10**5, 10**5))
LINE = [SizePoint(sent, received, (1e-4 + 2e-9 * sent + 1e-9 * received,)) for sent, received in SIZES]


def model(**costs: float) -> TimeModel:
    """A model whose transports are all the same line, with these costs."""
    transports = {transport_of(variant): LINE for variant in VARIANTS.values()}
    return fit(transports, [Point({name.replace("_", " "): 1.0}, seconds) for name, seconds in costs.items()])


def test_costs_are_recovered_from_measurements() -> None:
    """Fixed and per-element costs, from three sizes each, exactly where there is no noise; never negative."""
    points = [Point({"norm steps": 1.0, "norm": float(n)}, 2e-5 + 3e-10 * n) for n in (10, 1000, 100000)]
    points += [Point({"casts": 2.0, "cast": float(n)}, 1e-9 * n) for n in (10, 1000)]
    found = fit_costs(points)
    assert found.per_unit["norm steps"] == pytest.approx(2e-5, rel=1e-6)
    assert found.per_unit["norm"] == pytest.approx(3e-10, rel=1e-6)
    assert min(found.per_unit.values()) >= 0
    assert found.seconds({"norm": 1000.0, "never measured": 5.0}) == pytest.approx(3e-7, rel=1e-6)
    with pytest.raises(ValueError, match="no measurements"):
        fit_costs([])


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_request_is_the_sum_of_its_parts(name: str) -> None:
    """Every variant has a prediction, made of the three parts and nothing else."""
    made = model(own_float32_norm_steps=1e-5, flops=1e-11, few_flops=1e-10, masked_flops=2e-11, hide=1e-9)
    parts = made.parts_s(CONFIG, VARIANTS[name], 16, 3)
    assert set(parts) == set(PARTS)
    assert sum(parts.values()) == pytest.approx(made.request_s(CONFIG, VARIANTS[name], 16, 3))
    assert min(parts.values()) >= 0


def test_transport_is_paid_for_each_call_and_byte() -> None:
    """With free arithmetic, a pass costs what its messages cost."""
    variant = VARIANTS["local-embedding"]
    calls = predict(CONFIG, variant, 16)
    expected = sum(1e-4 + 2e-9 * call.sent_bytes + 1e-9 * call.received_bytes for call in calls)
    assert model(nothing=1e-9).request_s(CONFIG, variant, 16, 0) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("hidden_s", "hiding_s", "stages", "left_s"), [(4.0, 10.0, 8, 0.5), (10.0, 4.0, 8, 6.5), (3.0, 3.0, 1, 3.0)]
)
def test_chunks_in_flight_hide_a_gpu_but_for_one_stage(
    hidden_s: float, hiding_s: float, stages: int, left_s: float
) -> None:
    """Two resources in a pipeline take the longer one's time and one stage of the shorter."""
    assert exposed_s(hidden_s, hiding_s, stages) == pytest.approx(left_s)


def test_products_of_a_pipelined_pass_are_hidden_only_where_they_are_apart() -> None:
    """On one set of CPUs work in flight adds up; on a GPU it does not, and only where chunks are in flight."""
    together = model(flops=1e-9, own_float32_norm_steps=1e-4)
    apart = replace(together, apart=True)
    piped, serial = VARIANTS["minimal-pipelined"], VARIANTS["local-embedding"]
    assert apart.request_s(CONFIG, piped, 16, 0) < together.request_s(CONFIG, piped, 16, 0)
    assert apart.request_s(CONFIG, serial, 16, 0) == together.request_s(CONFIG, serial, 16, 0)


def test_the_same_products_are_counted_however_they_are_fused() -> None:
    """Multiplications of a prefill do not depend on which calls they are in."""

    def products(name: str) -> float:
        calls = predict(CONFIG, VARIANTS[name], 32)
        rows = [compute_features(CONFIG, call) for call in calls]
        return sum(amount for row in rows for name, amount in row.items() if name.endswith("flops"))

    assert products("seed") == products("repeat-after") == products("qkv-scores") == products("trusted-minimal")
    assert products("linear-only") < products("seed")  # attention's products are the client's


def test_every_product_of_a_pass_is_measured_in_single_calls() -> None:
    """What the model prices of the server's work, prefill or decode, is in the programs of single calls."""
    variants = [VARIANTS[name] for name in QUICK]
    measured = {
        name
        for program in programs(CONFIG, variants, 16)
        for single in program
        for name in compute_features(CONFIG, single.shape)
    }
    for variant in variants:
        for tokens, past in ((16, 0), (1, 16)):
            for call in predict(CONFIG, variant, tokens, past):
                assert set(compute_features(CONFIG, call)) <= measured


def result(predicted: float, low: float, measured: float, high: float) -> StepResult:
    """A step of a request of 100 ms."""
    return StepResult(STEPS[0], predicted, Interval(measured, low, high, 0.95), 0.1, (1.1,), "transport differs")


def test_the_plan_says_whether_a_prediction_held() -> None:
    """Within a quarter, or both negligible: as predicted; else which assumption failed, noise or not."""
    assert result(0.020, 0.015, 0.022, 0.030).verdict == "as predicted"
    assert result(0.012, 0.010, 0.030, 0.040).verdict == ("within the interval, but not within 25%: transport differs")
    assert result(0.001, -0.001, -0.002, 0.0).verdict == "as predicted: next to nothing"
    assert result(0.005, 0.015, 0.020, 0.030).verdict == "not as predicted: transport differs"
    said = str(result(0.005, 0.015, 0.020, 0.030))
    assert "predicted +5.0 ms, measured +20.0 ms [+15.0, +30.0] of 100.0 ms outside products" in said


def test_the_climb_is_connected_and_honest() -> None:
    """Each step differs from one before it, and what it ends in gives no activations' arithmetic away."""
    reached = {"seed"}
    for step in STEPS:
        assert step.before in reached
        reached.add(step.after)
    assert reached <= set(VARIANTS)
    assert VARIANTS[BEST_HONEST].honest
    assert "token ids" not in VARIANTS[BEST_HONEST].server_sees
    assert set(QUICK) <= set(VARIANTS)
