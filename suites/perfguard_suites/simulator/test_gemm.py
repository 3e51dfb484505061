"""The exact GEMM search beside the plain loop that it agrees with, and what a model's products take to search."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import pytest

from perfguard import Perfguard
from perfguard_suites.goals import note_goal
from perfguard_suites.simulator.gemm import Gemm, GemmEvaluator
from perfguard_suites.simulator.gemm.loop import search_by_loop
from perfguard_suites.simulator.gemm.search import search_many
from perfguard_suites.simulator.hardware import load_hardware

# A prefill's and a decode step's products of a 34B-class model: qkv, output, gate and up, down, logits, attention.
HIDDEN, HEADS, INTERMEDIATE, VOCABULARY, TOKENS = 7168, 56, 20480, 64000, 2048
GOALS = {"prefill": 500.0, "m1": 10.0}
ROUNDS = {"quick": 4, "standard": 12, "full": 30}
SEARCHES = 10
WEIGHTS = 4


def layer(rows: int) -> list[Gemm]:
    """The distinct products of one layer with `rows` tokens, and the logits of one."""
    head = HIDDEN // HEADS
    return [
        Gemm(1, rows, HIDDEN + 2 * 8 * head, HIDDEN),
        Gemm(1, rows, HIDDEN, HIDDEN),
        Gemm(1, rows, 2 * INTERMEDIATE, HIDDEN),
        Gemm(1, rows, HIDDEN, INTERMEDIATE),
        Gemm(HEADS, rows, TOKENS, head),
        Gemm(HEADS, rows, head, TOKENS),
        Gemm(1, 1, VOCABULARY, HIDDEN),
    ]


@pytest.mark.parametrize("kind", ["prefill", "m1"])
def test_search_over_loop(perfguard: Perfguard, kind: str) -> None:
    """How many times faster than the plain loop a product is searched, timed in turn; both answer alike.

    Each round one product of the layer goes through the loop, and all of the layer through the search, in one go
    as the simulator asks for them; the ratio is of the times a product.
    """
    device = load_hardware("h100")
    gemms = layer(TOKENS if kind == "prefill" else 1)
    found = search_many(device, gemms)
    rounds = ROUNDS.get(str(perfguard.profile), 1) if perfguard.enabled else 1
    ratios, searches_s = [], []
    for number in range(rounds):
        place = number % WEIGHTS
        taken: dict[str, float] = {}
        for name in ("loop", "search") if number % 2 else ("search", "loop"):
            begin_s = perf_counter()
            if name == "loop":
                assert search_by_loop(device, gemms[place]) == found[place]
            else:
                for _ in range(SEARCHES):
                    search_many(device, gemms)
            taken[name] = (perf_counter() - begin_s) / (1 if name == "loop" else SEARCHES * len(gemms))
        ratios.append(taken["loop"] / taken["search"])
        searches_s.append(taken["search"])
    perfguard.record(f"search_over_loop_{kind}", ratios, unit="", kind="ratio", direction="higher", limit=0.5)
    perfguard.record("search_time", searches_s, unit="s", gated=False)
    note_goal(perfguard, f"search over loop, {kind}", median(ratios), at_least=GOALS[kind], unit="")


def test_products_of_a_model(perfguard: Perfguard) -> None:
    """All products of a prefill and a decode step of 60 layers, searched cold: evaluations are the distinct ones."""
    device = load_hardware("h100")
    gemms = [gemm for rows in (TOKENS, 1) for _ in range(60) for gemm in layer(rows)]
    search_many(device, gemms[:1])  # the lists of a device are built once

    def cold() -> GemmEvaluator:
        evaluator = GemmEvaluator(device)
        evaluator.evaluate_all(gemms)
        return evaluator

    evaluator = perfguard(cold)
    assert evaluator.evaluations == len(set(gemms)) == 13
    assert evaluator.evaluations + evaluator.hits == len(gemms)
    perfguard.count("gemm_evaluations", evaluator.evaluations)
    perfguard.record("search_share_s", evaluator.search_s, unit="s", gated=False)
    note_goal(perfguard, "cold search of a 60-layer model", 1e3 * evaluator.search_s, at_most=30.0, unit="ms")
