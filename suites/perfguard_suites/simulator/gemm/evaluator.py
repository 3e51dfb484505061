"""What the simulator asks: each distinct product is searched once, and everything is counted."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from perfguard_suites.simulator.constants import NO_CALIBRATION, Calibration
from perfguard_suites.simulator.errors import NoTileFits
from perfguard_suites.simulator.gemm.cache import Cache
from perfguard_suites.simulator.gemm.problem import Gemm, GemmCost, roofline_s
from perfguard_suites.simulator.gemm.search import search
from perfguard_suites.simulator.hardware import Hardware


class GemmEvaluator:
    """Costs of matrix products on one device. Not for several threads at once.

    `precise=False` is a closed form instead of a search, labelled coarse: the roofline with the calibration's
    efficiencies, plus its fixed cost. Without a `cache` of its caller's it has its own, in memory.

    `evaluations` counts products really computed, `hits` those remembered, `disk_hits` the part of these that
    another process (or an earlier run) computed, `fallbacks` products computed though no tile fits, `search_s`
    wall time in the search.

    Searching is never spread over processes: one takes a third of a millisecond, starting a process takes tens. So
    `GEMM_DISABLE_MULTIPROCESS=1` is what always holds; setting it changes nothing.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        precise: bool = True,
        calibration: Calibration | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.hardware = hardware
        self.precise = precise
        self.calibration = calibration or NO_CALIBRATION
        self.evaluations = 0
        self.hits = 0
        self.disk_hits = 0
        self.search_s = 0.0
        self.fallbacks = 0
        self._cache = cache or Cache()
        kind = "precise" if precise else "coarse"
        self._key = f"{hardware.digest}-{self.calibration.digest}-{kind}"

    def evaluate(self, gemm: Gemm) -> GemmCost:
        """The cost of one product. Raises `NoTileFits`, `HardwareError`, `CacheError`."""
        return self.evaluate_all([gemm])[0]

    def evaluate_all(self, gemms: Sequence[Gemm]) -> list[GemmCost]:
        """The costs of several, in their order; each distinct one is computed once."""
        costs: dict[Gemm, GemmCost] = {}
        fresh: list[tuple[Gemm, GemmCost]] = []
        for gemm in gemms:
            if gemm in costs:
                self.hits += 1
                continue
            kept = self._cache.get(self._key, gemm)
            if kept is None:
                costs[gemm] = self._compute(gemm)
                fresh.append((gemm, costs[gemm]))
            else:
                costs[gemm], from_disk = kept
                self.hits += 1
                self.disk_hits += from_disk
        self._cache.put(self._key, fresh)
        return [costs[gemm] for gemm in gemms]

    def _compute(self, gemm: Gemm) -> GemmCost:
        begin_s = perf_counter()
        try:
            cost = (search if self.precise else coarse_cost)(self.hardware, gemm, self.calibration)
        except NoTileFits as error:
            raise NoTileFits(f"{gemm}: {error.culprit}", error.problem, error.advice) from None
        self.search_s += perf_counter() - begin_s
        self.evaluations += 1
        self.fallbacks += cost.fallback
        return cost


def coarse_cost(hardware: Hardware, gemm: Gemm, calibration: Calibration) -> GemmCost:
    """The roofline with efficiencies: a closed form, without tiles. Raises `HardwareError`."""
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
