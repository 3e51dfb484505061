"""What an operator costs on a device: computation, memory traffic and how both fit together, in whole picoseconds.

Simulated times are integers, so that phases sum to the total exactly and no task overlaps another by a rounding error.
They are rounded up: no cost falls below its roofline.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from perfguard import phase
from perfguard_suites.simulator.gemm import Gemm, GemmCost, GemmEvaluator
from perfguard_suites.simulator.operators import Collective, Elementwise, Operator, Product

PS_PER_S = 10**12
CHUNKS = 4  # parts of a product's rows, so that a collective sends one while the next is computed


class Cost(NamedTuple):
    """An operator's cost: `latency_ps`, with its traffic beside its computation or after it, as the device does.

    `compute_ps` and `memory_ps` are what each would take alone; of a collective, both are 0 and `latency_ps` is how
    long its link is busy. `flops`: those of matrix units. `nbytes`: the least that crosses the memory. `part`: the cost
    of one of `CHUNKS` equal parts, where there are any.
    """

    name: str
    block: str
    latency_ps: int
    compute_ps: int = 0
    memory_ps: int = 0
    flops: int = 0
    nbytes: int = 0
    collective: bool = False
    part: Cost | None = None


def to_ps(seconds: float) -> int:
    """Picoseconds, rounded up."""
    return math.ceil(seconds * PS_PER_S)


class Pricer:
    """Prices operators on the evaluator's device.

    `chunked`: parts of products too, where a collective may overlap them. `asked` are the distinct
    products that the evaluator was asked for.
    """

    def __init__(self, evaluator: GemmEvaluator, *, chunked: bool) -> None:
        self.evaluator = evaluator
        self.hardware = evaluator.hardware
        self.asked: set[Gemm] = set()
        self.chunked = chunked
        # of elementwise work only what the memory really gives
        self._bandwidth = self.hardware.dram_bandwidth_bytes_per_s * evaluator.calibration.memory_efficiency

    def price(self, groups: Sequence[Sequence[Operator]]) -> list[list[Cost]]:
        """The cost of each operator of each group, in order; all products are asked of the evaluator at once."""
        gemms, parts = [], []
        for operators in groups:
            gemms += [operator.gemm for operator in operators if isinstance(operator, Product)]
            parts.append(self._parts(operators) if self.chunked else {})
        count = len(gemms)
        gemms += [gemm for part in parts for gemm in part.values()]
        self.asked.update(gemms)
        with phase("search"):
            answers = self.evaluator.evaluate_all(gemms)
        whole, divided = iter(answers[:count]), iter(answers[count:])
        return [
            [
                self._cost(operator, whole, divided if index in part else None)
                for index, operator in enumerate(operators)
            ]
            for operators, part in zip(groups, parts, strict=True)
        ]

    def _cost(self, operator: Operator, whole: Iterator[GemmCost], divided: Iterator[GemmCost] | None) -> Cost:
        if isinstance(operator, Product):
            return _product(operator, operator.gemm, next(whole), None if divided is None else next(divided))
        return self._elementwise(operator) if isinstance(operator, Elementwise) else _collective(operator)

    def _elementwise(self, operator: Elementwise) -> Cost:
        compute_s = operator.flops / self.hardware.vector_flops_per_s
        memory_s = operator.nbytes / self._bandwidth
        together_s = max(compute_s, memory_s) if self.hardware.overlaps_dma else compute_s + memory_s
        latency_ps = to_ps(together_s + self.hardware.launch_overhead_s)
        return Cost(
            operator.name, operator.block, latency_ps, to_ps(compute_s), to_ps(memory_s), nbytes=operator.nbytes
        )

    @staticmethod
    def _parts(operators: Sequence[Operator]) -> dict[int, Gemm]:
        """A part of each product that feeds a divisible collective, by the product's place."""
        found: dict[int, Gemm] = {}
        for index, (operator, after) in enumerate(pairwise(operators)):
            if isinstance(operator, Product) and isinstance(after, Collective) and after.divisible:
                gemm = operator.gemm
                if gemm.g == 1 and gemm.m % CHUNKS == 0:
                    found[index] = Gemm(1, gemm.m // CHUNKS, gemm.n, gemm.k, gemm.dtype)
        return found


def _product(operator: Product, gemm: Gemm, cost: GemmCost, part: GemmCost | None) -> Cost:
    return Cost(
        operator.name,
        operator.block,
        to_ps(cost.latency_s),
        to_ps(cost.compute_s),
        to_ps(cost.memory_s),
        cost.flops,
        gemm.compulsory_bytes,
        part=None if part is None else _product(operator, gemm, part, None),
    )


def _collective(operator: Collective) -> Cost:
    latency_ps, part = to_ps(operator.seconds_of(operator.nbytes)), None
    if operator.divisible:
        part_ps = to_ps(operator.seconds_of(operator.nbytes / CHUNKS))
        part = Cost(operator.name, operator.block, part_ps, collective=True)
    return Cost(operator.name, operator.block, latency_ps, collective=True, part=part)
