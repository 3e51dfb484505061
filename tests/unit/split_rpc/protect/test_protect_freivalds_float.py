"""The floating-point check: honest rounding passes, lies beyond it are caught as often as stated, lesser ones pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perfguard_suites.split_rpc.protect import (
    BF16,
    BF16_WIRE,
    FP16_WIRE,
    FP32,
    TF32,
    Arithmetic,
    FloatCheck,
    MalformedReply,
    SeededEntropy,
    ServerLied,
    UnquantisableInput,
    float_check,
    float_miss_probability,
    tolerance,
    verify_float,
)
from perfguard_suites.split_rpc.protect.freivalds_float import growth

Replies = list[torch.Tensor]
NAME = "layer 2 gate_proj+up_proj"


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tf32(x: torch.Tensor) -> torch.Tensor:
    """Rounded to 11 significant bits, as tensor cores take float32."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def served(x: torch.Tensor, weights: Replies, arithmetic: Arithmetic) -> Replies:
    """An honest server of that arithmetic, really rounding where it says."""
    if arithmetic is TF32:
        return [tf32(x) @ tf32(w).T for w in weights]
    if arithmetic is BF16:
        return [x.to(torch.bfloat16) @ w.to(torch.bfloat16).T for w in weights]
    result = {FP32.name: torch.float32, BF16_WIRE.name: torch.bfloat16, FP16_WIRE.name: torch.float16}[arithmetic.name]
    return [(x @ w.T).to(result) for w in weights]


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 300)),
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(0, 2**31),
    st.sampled_from([1e-18, 1e-3, 1.0, 1e3]),
    st.sampled_from([FP32, TF32, BF16_WIRE, FP16_WIRE, BF16]),
    st.booleans(),
)
def test_an_honest_server_passes(
    shape: tuple[int, int], outputs: list[int], seed: int, magnitude: float, arithmetic: Arithmetic, sure: bool
) -> None:
    """Whatever shapes and arithmetic: real rounding stays below the tolerance, by either bound, subnormals included."""
    weights = [drawn(n, shape[1], seed=seed) * 0.05 for n in outputs]
    x = drawn(*shape, seed=seed + 1) * magnitude
    check = float_check(NAME, weights, arithmetic, SeededEntropy(seed.to_bytes(16, "little")), deterministic=sure)
    verify_float(check, x, served(x, weights, arithmetic))


@pytest.mark.parametrize("arithmetic", [FP32, TF32, BF16_WIRE, FP16_WIRE, BF16], ids=lambda a: a.name)
def test_the_tolerance_bounds_the_real_error(arithmetic: Arithmetic, entropy: SeededEntropy) -> None:
    """At a LLaMA layer's width, each row's true error against float64 is below `tolerance`."""
    weights, x = [drawn(96, 2048, seed=1) * 0.02], drawn(8, 2048, seed=2)
    replies = served(x, weights, arithmetic)
    error = (replies[0].to(torch.float64) - x.to(torch.float64) @ weights[0].to(torch.float64).T).norm(dim=1)
    assert bool((error <= tolerance(float_check(NAME, weights, arithmetic, entropy), x, replies)).all())


def one_element(replies: Replies, x: torch.Tensor, weights: Replies) -> Replies:
    replies[0][2, 3] += 2 * replies[0].abs().max()
    return replies


def rows_swapped(replies: Replies, x: torch.Tensor, weights: Replies) -> Replies:
    replies[1][[0, 1]] = replies[1][[1, 0]]
    return replies


def stale(replies: Replies, x: torch.Tensor, weights: Replies) -> Replies:
    return [drawn(*x.shape, seed=77) @ w.T for w in weights]


def scaled(replies: Replies, x: torch.Tensor, weights: Replies) -> Replies:
    return [reply * 1.01 for reply in replies]


def another_weight(replies: Replies, x: torch.Tensor, weights: Replies) -> Replies:
    return [replies[0], x @ (weights[1] + 0.01 * drawn(*weights[1].shape, seed=5)).T]


def bfloat16_in_secret(replies: Replies, x: torch.Tensor, weights: Replies) -> Replies:
    return [reply.to(torch.bfloat16).to(torch.float32) for reply in replies]


def not_a_number(replies: Replies, x: torch.Tensor, weights: Replies) -> Replies:
    replies[1][4, 0] = float("nan")
    return replies


def infinity(replies: Replies, x: torch.Tensor, weights: Replies) -> Replies:
    replies[0][4, 0] = float("inf")
    return replies


LIES = (one_element, rows_swapped, stale, scaled, another_weight, bfloat16_in_secret, not_a_number, infinity)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_lies_beyond_rounding_are_caught(
    lie: Callable[[Replies, torch.Tensor, Replies], Replies], entropy: SeededEntropy
) -> None:
    """Each injected fault raises with the call's name; cheating with bf16 under an fp32 contract is one."""
    weights, x = [drawn(64, 128, seed=1), drawn(32, 128, seed=2)], drawn(6, 128, seed=3)
    check = float_check(NAME, weights, FP32, entropy)
    honest = [x @ w.T for w in weights]
    verify_float(check, x, honest)
    with pytest.raises(ServerLied, match=r"layer 2 gate_proj\+up_proj.*than fp32 rounds.*stop using it"):
        verify_float(check, x, lie([r.clone() for r in honest], x, weights))


def test_the_rows_at_fault_are_named(entropy: SeededEntropy) -> None:
    """Of many rows, checked in blocks, exactly those that were changed are named."""
    weights, x = [drawn(4096, 16, seed=1)], drawn(600, 16, seed=3)
    replies = [x @ weights[0].T]
    replies[0][[5, 598], 9] += 100
    with pytest.raises(ServerLied, match=r"2 of 600 rows.*\[5, 598\]"):
        verify_float(float_check(NAME, weights, FP32, entropy), x, replies)


def test_lies_relative_to_the_tolerance_are_caught_as_often_as_stated(entropy: SeededEntropy) -> None:
    """Rows off by c tolerances pass with the probability that `float_miss_probability` gives, for weak and strong c.

    500 secrets each, with two columns so that misses can be counted; binomial bound at six sigma. At c = 1 or less
    all pass, as the false-alarm rate demands: those lies are no larger than rounding.
    """
    weights, x = [drawn(40, 64, seed=1)], drawn(1, 64, seed=2)
    exact = x.to(torch.float64) @ weights[0].to(torch.float64).T
    direction = drawn(1, 40, seed=3).to(torch.float64)
    trials = 500
    for excess in (0.5, 1.0, 5.0, 20.0, 100.0):
        passed = 0
        for _ in range(trials):
            check = float_check(NAME, weights, FP32, entropy, columns=2)
            step = direction / direction.norm() * tolerance(check, x, [exact]) * excess
            passed += _passes(check, x, [exact + step])
        expected = float_miss_probability(check, excess)
        assert abs(passed / trials - expected) <= 6 * (expected * (1 - expected) / trials) ** 0.5 + 1e-3


def test_what_it_cannot_catch_passes(entropy: SeededEntropy) -> None:
    """A lie of half a tolerance in one element goes unnoticed by this check: stated, not hidden."""
    weights, x = [drawn(40, 64, seed=1)], drawn(1, 64, seed=2)
    check = float_check(NAME, weights, FP32, entropy)
    reply = x.to(torch.float64) @ weights[0].to(torch.float64).T
    reply[0, 0] += 0.5 * float(tolerance(check, x, [reply])[0])
    verify_float(check, x, [reply])


def test_the_probabilistic_bound_is_tighter_for_long_sums_only() -> None:
    """Higham's k u for short sums, Higham and Mary's 10 sqrt(k) u beyond k = 100; operand rounding adds to both."""
    assert growth(50, FP32) == growth(50, FP32, deterministic=True) == pytest.approx(50 * 2.0**-24, rel=1e-4)
    assert growth(2500, FP32) == pytest.approx(10 * 50 * 2.0**-24, rel=1e-2)
    assert growth(2500, FP32, deterministic=True) == pytest.approx(2500 * 2.0**-24, rel=1e-3)
    assert growth(1, TF32) > 2 * 2.0**-11
    with pytest.raises(ValueError, match="no error bound"):
        growth(2**24, FP32)


def test_the_miss_probability_falls_with_excess_and_columns(entropy: SeededEntropy) -> None:
    """1 for no lie, falling with its size; the default's 8 columns miss a lie of 100 tolerances under 1e-10."""
    check = float_check(NAME, [drawn(8, 8)], FP32, entropy)
    curve = [float_miss_probability(check, excess) for excess in (0.0, 1.0, 10.0, 30.0, 100.0)]
    assert curve[0] == 1.0
    assert curve[1] == pytest.approx(1.0, abs=1e-11)
    assert curve == sorted(curve, reverse=True)
    assert curve[3] < 1e-6
    assert curve[4] < 1e-10


def test_shapes_and_values_that_make_no_sense_are_refused(entropy: SeededEntropy) -> None:
    """Replies of another shape or of integers, inputs of another width, weights that are none: named errors."""
    check, x = float_check(NAME, [drawn(4, 8)], FP32, entropy), drawn(2, 8)
    for replies in ([], [drawn(2, 5)], [torch.zeros(2, 4, dtype=torch.int32)]):
        with pytest.raises(MalformedReply, match=r"layer 2.*instead of floats \[\(2, 4\)\]"):
            verify_float(check, x, replies)
    with pytest.raises(MalformedReply, match="check against what was sent"):
        verify_float(check, drawn(2, 9), [drawn(2, 4)])
    for weights in ([], [drawn(3)], [drawn(3, 4), drawn(3, 5)], [torch.ones(3, 4, dtype=torch.int32)]):
        with pytest.raises(UnquantisableInput, match="share their inputs"):
            float_check(NAME, weights, FP32, entropy)
    with pytest.raises(UnquantisableInput, match="NaN or infinity"):
        float_check(NAME, [torch.full((2, 2), float("inf"))], FP32, entropy)


def _passes(check: FloatCheck, x: torch.Tensor, replies: Replies) -> bool:
    try:
        verify_float(check, x, replies)
    except ServerLied:
        return False
    return True
