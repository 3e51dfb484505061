"""Collectives and layouts: costs follow their formulas over any hierarchy, and what does not fit is refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard_suites.simulator.collectives import (
    Ring,
    all_gather_s,
    all_reduce_s,
    all_to_all_s,
    group_of,
    point_to_point_s,
    reduce_scatter_s,
)
from perfguard_suites.simulator.config import Parallelism, Request
from perfguard_suites.simulator.errors import LayoutError, ModelDoesNotFit
from perfguard_suites.simulator.hardware import load_hardware
from perfguard_suites.simulator.models import ModelShape, model_of
from perfguard_suites.simulator.parallel import Layout

H100 = load_hardware("h100")
ALPHA, BETA = 3e-6, 1 / 450e9
SIZES = st.sampled_from([2, 4, 8, 16])
BYTES = st.integers(0, 1 << 32).map(float)
COLLECTIVES = (reduce_scatter_s, all_gather_s, all_reduce_s, all_to_all_s)


def test_one_level_is_the_textbook() -> None:
    """8 devices, 80 MB: the ring's 7 messages of an eighth; twice that for an all-reduce, 3 exchanges if small."""
    group, nbytes = group_of(H100, 8), 8e7
    ring_s = 7 * (ALPHA + 1e7 * BETA)
    assert reduce_scatter_s(group, nbytes) == pytest.approx(ring_s)
    assert all_gather_s(group, nbytes) == pytest.approx(ring_s)
    assert all_reduce_s(group, nbytes) == pytest.approx(2 * ring_s)
    assert all_reduce_s(group, 8.0) == pytest.approx(3 * ALPHA, rel=1e-4)
    assert all_to_all_s(group, nbytes) == pytest.approx(ring_s)
    assert point_to_point_s(H100, 7, 1e6) == pytest.approx(ALPHA + 1e6 * BETA)
    assert point_to_point_s(H100, 8, 0) == pytest.approx(H100.levels[1].latency_s)


@given(st.lists(SIZES, min_size=1, max_size=3), BYTES)
def test_levels_of_one_link_move_as_much_as_one_level(sizes: list[int], nbytes: float) -> None:
    """Without latency, a hierarchy over equal links sends (p - 1) / p of the bytes, as one ring of all does."""
    rings, one = [Ring(size, 0.0, BETA) for size in sizes], 1
    for size in sizes:
        one *= size
    for collective in COLLECTIVES:
        expected = collective([Ring(one, 0.0, BETA)], nbytes)
        assert collective(rings, nbytes) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@given(st.lists(SIZES, min_size=1, max_size=3), BYTES, st.floats(1.0, 8.0))
def test_better_links_and_fewer_bytes_are_never_slower(sizes: list[int], nbytes: float, factor: float) -> None:
    """More bandwidth, less latency, fewer bytes: at most the same time. One device pays nothing."""
    slow = [Ring(size, ALPHA, BETA) for size in sizes]
    for collective in COLLECTIVES:
        base = collective(slow, nbytes)
        assert collective([ring._replace(beta_s_per_byte=BETA / factor) for ring in slow], nbytes) <= base
        assert collective([ring._replace(alpha_s=ALPHA / factor) for ring in slow], nbytes) <= base
        assert collective(slow, nbytes / factor) <= base
        assert collective([], nbytes) == 0


def test_groups_fill_levels_from_within() -> None:
    """16 devices are 2 nodes of 8; strided ones meet further out; a group that does not fill a node is refused."""
    inner, outer = H100.levels
    assert [ring.size for ring in group_of(H100, 16)] == [8, 2]
    assert [ring.size for ring in group_of(H100, 2, stride=8)] == [2]
    assert group_of(H100, 2, stride=8)[0].alpha_s == outer.latency_s
    assert group_of(H100, 4)[0].alpha_s == inner.latency_s
    with pytest.raises(LayoutError, match="evenly"):
        group_of(H100, 12)
    with pytest.raises(LayoutError, match="1024 devices"):
        group_of(H100, 2048)


@pytest.mark.parametrize(
    ("model", "request_", "spread", "words"),
    [
        ("yi-34b", Request(), Parallelism(tensor=3), "tensor: 3 does not divide the 56 heads"),
        ("yi-34b", Request(), Parallelism(tensor=1024, data=2), "2048 devices: h100's links join 1024"),
        ("yi-34b", Request(), Parallelism(pipeline=61), "61 stages for 60 layers"),
        ("yi-34b", Request(batch=3), Parallelism(data=2), "data: 2 does not divide the batch of 3"),
        ("yi-34b", Request(batch=3), Parallelism(microbatches=2), "microbatches: 2 does not divide"),
        ("yi-34b", Request(), Parallelism(expert=2), "which has none"),
        ("deepseek-v3", Request(), Parallelism(tensor=8, expert=16), "16 devices are not whole replicas"),
        ("deepseek-v3", Request(), Parallelism(tensor=8, expert=3), "3 does not divide the 256 experts"),
    ],
)
def test_a_layout_that_does_not_divide_is_refused(
    model: str, request_: Request, spread: Parallelism, words: str
) -> None:
    """The error names the figure that does not divide and what it should."""
    with pytest.raises(LayoutError, match=words):
        Layout.of(model_of(model), H100, request_, spread)


def test_key_and_value_heads_are_split_or_replicated_whole() -> None:
    """4 of them over 2 or 8 ranks; not over 6."""
    model = ModelShape("made", 64, 1, 24, 4, 32, 768, 64, 4096)
    assert [Layout.of(model, H100, Request(), Parallelism(tensor=t)).kv_heads for t in (2, 8)] == [2, 1]
    with pytest.raises(LayoutError, match="6 neither divides the 4 key and value heads"):
        Layout.of(model, H100, Request(), Parallelism(tensor=6))


def test_a_model_that_does_not_fit_says_by_how_much() -> None:
    """GPT-3 on one device: 325 GiB of weights against 80; on eight, it fits."""
    with pytest.raises(ModelDoesNotFit, match=r"weights 325\.2.*has 80\.0"):
        Layout.of(model_of("gpt-3-175b"), H100, Request(1024), Parallelism())
    Layout.of(model_of("gpt-3-175b"), H100, Request(1024), Parallelism(tensor=8))
    with pytest.raises(ModelDoesNotFit, match="cache 9"):
        Layout.of(model_of("llama-2-7b"), H100, Request(2048, batch=96), Parallelism())


@pytest.mark.parametrize(
    ("model", "spread"),
    [
        ("yi-34b", Parallelism(tensor=8)),
        ("yi-34b", Parallelism(tensor=2, pipeline=4)),
        ("llama-2-7b", Parallelism(tensor=4, pipeline=2)),
        ("deepseek-v3", Parallelism(tensor=8, data=4, expert=32)),
        ("deepseek-v3", Parallelism(tensor=8, expert=4)),
        ("deepseek-v3", Parallelism(tensor=8, pipeline=4)),
    ],
)
def test_devices_hold_the_whole_model_between_them(model: str, spread: Parallelism) -> None:
    """The fullest device holds its share of the weights, and no more than what is replicated on each on top of it."""
    shape, big = model_of(model), replace(H100, dram_bytes=1 << 50)
    request = Request(batch=spread.data, output_tokens=1)
    layout = Layout.of(shape, big, request, spread)
    held = layout.memory_bytes(shape, request, spread)["weights"]
    apart = spread.tensor * spread.pipeline * (spread.expert // spread.tensor if spread.expert > spread.tensor else 1)
    share = 2 * shape.parameters / apart
    assert share <= held * 1.02
    assert held <= 2.2 * share
