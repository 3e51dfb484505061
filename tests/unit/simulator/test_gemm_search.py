"""The GEMM search: exact against the plain loop, never below the roofline, and honest where nothing fits."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfguard_suites.simulator.constants import Calibration
from perfguard_suites.simulator.errors import NoTileFits, ShapeError
from perfguard_suites.simulator.gemm import Gemm, GemmEvaluator, roofline_s
from perfguard_suites.simulator.gemm.loop import search_by_loop
from perfguard_suites.simulator.gemm.plan import factorisations
from perfguard_suites.simulator.gemm.search import search, search_all, search_many
from perfguard_suites.simulator.hardware import PRESETS, Hardware, load_hardware

PRIMES = (1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093)
SHAPES = st.builds(
    Gemm,
    g=st.sampled_from([1, 1, 2, 7]),
    m=st.integers(1, 5000),
    n=st.integers(1, 5000),
    k=st.integers(1, 5000),
)
CONSTANTS = st.builds(Calibration, st.floats(0.2, 1), st.floats(0.2, 1), st.floats(0, 1e-5))
DEVICES = st.sampled_from(PRESETS).map(load_hardware)


def small(name: str) -> Hardware:
    """The preset with few cores and a short menu, so that the plain loop takes milliseconds."""
    device = load_hardware(name)
    menu_m, menu_n = device.tiles_m[::2][:3], device.tiles_n[::4][:2]
    cores = 6 if device.deals_tiles else 4
    return replace(device, cores=cores, tiles_m=menu_m, tiles_n=menu_n, tiles_k=device.tiles_k[::3][:2])


def random_gemms(count: int, seed: int) -> list[Gemm]:
    """Shapes with M = 1, primes, extents under a tile and whole multiples among them."""
    rng = random.Random(seed)

    def extent() -> int:
        return rng.choice([1, rng.choice(PRIMES), rng.randint(1, 40), 64 * rng.randint(1, 64), rng.randint(1, 9000)])

    return [Gemm(rng.choice([1, 1, 1, 2, 5, 32]), extent(), extent(), extent()) for _ in range(count)]


@pytest.mark.parametrize("name", PRESETS)
def test_search_is_exact(name: str) -> None:
    """Plain loop, all ways at once and branch and bound agree bit for bit, way and all: 130 shapes each."""
    device, gemms = small(name), random_gemms(130, seed=5)
    assert search_many(device, gemms) == [search(device, gemm) for gemm in gemms]
    for number, gemm in enumerate(gemms):
        constants = Calibration(0.8, 0.9, 2e-6) if number % 3 == 0 else Calibration()
        expected = search_by_loop(device, gemm, constants)
        assert search_all(device, gemm, constants) == expected, gemm
        assert search(device, gemm, constants) == expected, gemm


@pytest.mark.parametrize("gemm", [Gemm(1, 1, 4096, 4096), Gemm(1, 1021, 2752, 509)], ids=str)
def test_search_is_exact_on_a_whole_device(gemm: Gemm) -> None:
    """The same on all 132 cores and the whole menu."""
    device = load_hardware("h100")
    assert search(device, gemm) == search_all(device, gemm) == search_by_loop(device, gemm)


@given(DEVICES, SHAPES, CONSTANTS)
@settings(max_examples=60, deadline=None)
def test_pruning_loses_nothing(device: Hardware, gemm: Gemm, constants: Calibration) -> None:
    """On whole devices, branch and bound gives what computing every way gives."""
    assert search(device, gemm, constants) == search_all(device, gemm, constants)


@given(DEVICES, SHAPES, CONSTANTS)
@settings(max_examples=100, deadline=None)
def test_never_below_the_roofline(device: Hardware, gemm: Gemm, constants: Calibration) -> None:
    """No product is faster than the byte-correct roofline, whatever the constants; nor moves fewer bytes than it."""
    cost = search(device, gemm, constants)
    assert cost.latency_s >= roofline_s(device, gemm)
    assert cost.traffic_bytes >= gemm.compulsory_bytes


GROWING = ("dram_bandwidth_bytes_per_s", "l2_bandwidth_bytes_per_s", "core_bandwidth_bytes_per_s", "l2_bytes")


@given(DEVICES, SHAPES, st.sampled_from(GROWING), st.floats(1, 8))
@settings(max_examples=100, deadline=None)
def test_no_slower_with_more_bandwidth(device: Hardware, gemm: Gemm, field: str, factor: float) -> None:
    """More of any bandwidth, or a larger L2, slows nothing down."""
    figure = getattr(device, field)
    more = replace(device, **{field: type(figure)(figure * factor)})
    assert search(more, gemm).latency_s <= search(device, gemm).latency_s


@given(DEVICES, SHAPES, st.integers(17_000, 400_000), st.integers(0, 400_000))
@settings(max_examples=50, deadline=None)
def test_no_slower_with_more_sram(device: Hardware, gemm: Gemm, sram_bytes: int, more_bytes: int) -> None:
    """More SRAM slows nothing down, from where no tile fits to where all do."""
    less = replace(device, sram_bytes_per_core=sram_bytes)
    more = replace(device, sram_bytes_per_core=sram_bytes + more_bytes)
    assert search(more, gemm).latency_s <= search(less, gemm).latency_s


def test_fallback_is_counted() -> None:
    """Where only a single-buffered tile fits, it is taken, flagged and counted; it is slower than one that fits."""
    device = replace(load_hardware("h100"), sram_bytes_per_core=20_000)
    evaluator = GemmEvaluator(device)
    cost = evaluator.evaluate(Gemm(1, 512, 512, 512))
    assert (cost.fallback, cost.tile, evaluator.fallbacks) == (True, (64, 64, 64), 1)
    assert cost.latency_s > search(load_hardware("h100"), Gemm(1, 512, 512, 512)).latency_s
    assert cost == search_by_loop(device, Gemm(1, 512, 512, 512))


def test_no_tile_at_all_is_refused() -> None:
    """Where not even that fits, the error names the shape, the tile and the capacity."""
    device = replace(load_hardware("h100"), sram_bytes_per_core=10_000)
    with pytest.raises(NoTileFits, match=r"\[3, 5\] x \[5, 4\].*\(64, 64, 64\).*16384 bytes of SRAM.*10000"):
        GemmEvaluator(device).evaluate(Gemm(1, 3, 4, 5))


@pytest.mark.parametrize("extents", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, -1, 1), (1, 1, 1, 1 << 40)])
def test_impossible_extents_are_refused(extents: tuple[int, int, int, int]) -> None:
    """Zero, negative and absurd extents are no products."""
    with pytest.raises(ShapeError, match="not in 1"):
        Gemm(*extents)


def test_a_million_tokens_are_answered() -> None:
    """A prefill of a million tokens is one search like any other: as many ways, exact, and near the roofline."""
    device, gemm = load_hardware("h100"), Gemm(1, 1_000_000, 57344, 8192)
    cost = search(device, gemm)
    assert cost == search_all(device, gemm)
    assert 1 <= cost.latency_s / roofline_s(device, gemm) < 1.25


def test_factorisations_are_all() -> None:
    """All ordered factorisations into four: 84 of 64, 160 of 132, each once."""
    for cores, count in ((64, 84), (132, 160), (108, 200)):
        found = factorisations(cores)
        assert len(set(found)) == len(found) == count
        assert all(g * m * n * k == cores for g, m, n, k in found)


def test_each_product_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations are unique products and hits the rest, with or without GEMM_DISABLE_MULTIPROCESS."""
    gemms = [Gemm(1, 1, 64, 64), Gemm(1, 2, 64, 64), Gemm(1, 1, 64, 64)] * 4
    found = []
    for value in ("1", "0"):
        monkeypatch.setenv("GEMM_DISABLE_MULTIPROCESS", value)
        evaluator = GemmEvaluator(small("h100"))
        found.append(evaluator.evaluate_all(gemms))
        assert (evaluator.evaluations, evaluator.hits, evaluator.disk_hits) == (2, 10, 0)
        assert evaluator.search_s > 0
    assert found[0] == found[1]


def test_coarse_is_the_calibrated_roofline() -> None:
    """Without the search the answer is the roofline with efficiencies, and no tile is claimed."""
    device, gemm = load_hardware("a100"), Gemm(1, 4096, 4096, 4096)
    cost = GemmEvaluator(device, precise=False, calibration=Calibration(0.5, 1.0, 1e-6)).evaluate(gemm)
    assert cost.latency_s == pytest.approx(2 * roofline_s(device, gemm) + 1e-6)
    assert cost.tile == (0, 0, 0)
