"""Operators: their operations are those of the model's weights, whole or spread, and decoding reads what it must."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfguard_suites.simulator.config import Parallelism, Request
from perfguard_suites.simulator.hardware import load_hardware
from perfguard_suites.simulator.models import PRESETS, ModelShape, model_of
from perfguard_suites.simulator.operators import Elementwise, Operator, Pass, Product
from perfguard_suites.simulator.parallel import Layout

ROOMY = replace(load_hardware("h100"), dram_bytes=1 << 50)
TOKENS = 1024


def operators_of(model: ModelShape, spread: Parallelism, tokens: int, context: int) -> list[Operator]:
    """All of a pass on one device of each stage, without the head."""
    request = Request(context, 1, spread.data)
    layout = Layout.of(model, ROOMY, request, spread)
    shape = Pass(model, layout, request.dtype, request.element_bytes, tokens, context)
    dense = shape.layer(sparse=False) * model.dense_layers
    return dense + (shape.layer(sparse=True) * (model.layers - model.dense_layers) if model.moe else [])


def flops(operators: list[Operator], *, attention: bool) -> int:
    """Operations of products: with those between queries, keys and values, or without."""
    return sum(
        one.gemm.flops
        for one in operators
        if isinstance(one, Product) and (attention or one.name not in ("scores", "values"))
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_prompt_costs_two_operations_a_weight_and_token(name: str) -> None:
    """Products with weights: 2 x tokens x the weights that work on a token, which for a mixture are its active ones."""
    model = model_of(name)
    active = model.parameters - model.vocabulary * model.hidden * (1 if model.tied else 2)
    if model.moe is not None:
        idle = model.moe.experts - model.moe.top_k
        active -= (model.layers - model.dense_layers) * 3 * model.hidden * model.moe.intermediate * idle
        published = 37e9  # arXiv 2412.19437, with embedding and head
        assert active + 2 * model.vocabulary * model.hidden == pytest.approx(published, rel=0.02)
    done = flops(operators_of(model, Parallelism(), TOKENS, TOKENS), attention=False)
    assert done == pytest.approx(2 * TOKENS * active, rel=1e-3)  # the norms' weights are no products


@pytest.mark.parametrize(
    ("name", "spread"),
    [
        ("yi-34b", Parallelism(tensor=8)),
        ("llama-2-7b", Parallelism(tensor=4)),
        ("deepseek-v3", Parallelism(tensor=8, expert=8)),
        ("deepseek-v3", Parallelism(tensor=8, expert=2)),
        ("deepseek-v3", Parallelism(tensor=4, data=4, expert=16)),
    ],
)
def test_devices_share_the_operations_of_one(name: str, spread: Parallelism) -> None:
    """Per device, a share of what one device does for the same prompts; what every rank repeats is a few per cent."""
    model = model_of(name)
    alone = flops(operators_of(model, Parallelism(), TOKENS, TOKENS), attention=True)
    shared = flops(operators_of(model, spread, TOKENS, TOKENS), attention=True) * spread.tensor
    assert alone <= shared <= 1.25 * alone


@pytest.mark.parametrize("name", ["yi-34b", "deepseek-v3"])
def test_a_step_reads_the_cache_once(name: str) -> None:
    """A longer context costs a step the bytes of the longer cache, of latents twice, and of the longer scores."""
    model, short, long = model_of(name), 4096, 8192
    each = [
        sum(
            one.gemm.compulsory_bytes
            for one in operators_of(model, Parallelism(), 1, context)
            if isinstance(one, Product)
        )
        for context in (short, long)
    ]
    cached = 2 * model.layers * model.cached_elements * (long - short)
    scores = 2 * 2 * model.layers * model.heads * (long - short)
    read = cached if model.mla is None else cached + cached * model.mla.kv_rank // model.cached_elements
    assert each[1] - each[0] == read + scores


def test_a_latent_prompt_and_a_latent_step_do_the_same() -> None:
    """The absorbed products of a step and the rebuilding ones of a prompt are one function: same outer shapes."""
    model = model_of("deepseek-v3")
    prompt, step = (operators_of(model, Parallelism(), tokens, 64) for tokens in (64, 1))
    for operators, rows in ((prompt, 64), (step, 1)):
        output = next(one for one in operators if isinstance(one, Product) and one.name == "output")
        assert (output.gemm.m, output.gemm.k, output.gemm.n) == (rows, 128 * 128, 7168)
        softmax = next(one for one in operators if isinstance(one, Elementwise) and one.name == "softmax")
        assert softmax.nbytes == 2 * 2 * 128 * rows * 64


def test_few_tokens_wake_few_experts() -> None:
    """One token's 8 experts and no more; many tokens share out evenly over all 256."""
    model = model_of("deepseek-v3")
    for tokens, experts, rows in ((1, 8, 1), (4, 32, 1), (1024, 256, 32)):
        down = next(one for one in operators_of(model, Parallelism(), tokens, 1024) if one.name == "expert down")
        assert isinstance(down, Product)
        assert (down.gemm.g, down.gemm.m) == (experts, rows)
