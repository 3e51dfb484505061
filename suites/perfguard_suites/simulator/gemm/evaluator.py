"""What the simulator asks: each distinct product is searched once, and everything is counted."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from perfguard_suites.simulator.constants import NO_CALIBRATION, Calibration
from perfguard_suites.simulator.gemm.problem import Gemm, GemmCost, roofline_s
from perfguard_suites.simulator.gemm.search import search
from perfguard_suites.simulator.hardware import Hardware


class GemmEvaluator:
    """Latencies of matrix products on one device. Not for several threads at once.

    `precise=False` is a closed form instead of a search, labelled coarse: the roofline with the calibration's
    efficiencies, plus its fixed cost.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        precise: bool = True,
        calibration: Calibration | None = None,
        cache: object | None = None,
    ) -> None:
        self.hardware = hardware
        self.precise = precise
        self.calibration = calibration or NO_CALIBRATION
        self.evaluations = 0
        self.hits = 0
        self.disk_hits = 0
        self.search_s = 0.0
        self.fallbacks = 0
        self._known: dict[Gemm, GemmCost] = {}

    def evaluate(self, gemm: Gemm) -> GemmCost:
        """The cost of one product."""
        known = self._known.get(gemm)
        if known is not None:
            self.hits += 1
            return known
        self.evaluations += 1
        begin_s = perf_counter()
        find = search if self.precise else coarse_cost
        cost = self._known[gemm] = find(self.hardware, gemm, self.calibration)
        self.search_s += perf_counter() - begin_s
        self.fallbacks += cost.fallback
        return cost

    def evaluate_all(self, gemms: Sequence[Gemm]) -> list[GemmCost]:
        """The costs of several, in order."""
        return [self.evaluate(gemm) for gemm in gemms]


def coarse_cost(hardware: Hardware, gemm: Gemm, calibration: Calibration) -> GemmCost:
    """The roofline with efficiencies: a closed form, without tiles."""
    compute_s = gemm.flops / (hardware.peak_flops_per_s(gemm.dtype) * calibration.compute_efficiency)
    memory_s = gemm.compulsory_bytes / (hardware.dram_bandwidth_bytes_per_s * calibration.memory_efficiency)
    together_s = max(compute_s, memory_s) if hardware.overlaps_dma else compute_s + memory_s
    return GemmCost(
        latency_s=max(together_s, roofline_s(hardware, gemm)) + calibration.fixed_s,
        compute_s=compute_s,
        memory_s=memory_s,
        traffic_bytes=gemm.compulsory_bytes,
        flops=gemm.flops,
        tile=(0, 0, 0),
        order="",
        partition=(1, 1, 1, 1),
        fallback=False,
    )
