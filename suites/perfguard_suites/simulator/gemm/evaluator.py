"""What the simulator asks: each distinct product is searched once, and everything is counted."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from perfguard_suites.simulator.constants import NO_CALIBRATION, Calibration
from perfguard_suites.simulator.errors import NoTileFits
from perfguard_suites.simulator.gemm.cache import Cache
from perfguard_suites.simulator.gemm.problem import Gemm, GemmCost, roofline_s
from perfguard_suites.simulator.gemm.search import search_many
from perfguard_suites.simulator.hardware import Hardware


class GemmEvaluator:
    """Costs of matrix products on one device. Not for several threads at once.

    `precise=False` is a closed form instead of a search, labelled coarse: the roofline with the calibration's
    efficiencies, plus its fixed cost. Without a `cache` of its caller's it has its own, in memory.

    `evaluations` counts products really computed, `hits` those remembered, `disk_hits` the part of these that
    another process (or an earlier run) computed, `fallbacks` products computed though no tile fits, `search_s`
    wall time in the search.

    Searching is never spread over processes: all of a model's take some milliseconds, starting a process takes tens. So
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
        """The costs of several, in their order; each distinct one is computed once, and all of them in one go."""
        costs: dict[Gemm, GemmCost] = {}
        fresh: dict[Gemm, None] = {}
        for gemm in gemms:
            if gemm in costs or gemm in fresh:
                self.hits += 1
                continue
            kept = self._cache.get(self._key, gemm)
            if kept is None:
                fresh[gemm] = None
            else:
                costs[gemm], from_disk = kept
                self.hits += 1
                self.disk_hits += from_disk
        if fresh:
            computed = list(zip(fresh, self._compute(list(fresh)), strict=True))
            self._cache.put(self._key, computed)
            costs.update(computed)
        return [costs[gemm] for gemm in gemms]

    def _compute(self, gemms: Sequence[Gemm]) -> list[GemmCost]:
        begin_s = perf_counter()
        try:
            if self.precise:
                costs = search_many(self.hardware, gemms, self.calibration)
            else:
                costs = [coarse_cost(self.hardware, gemm, self.calibration) for gemm in gemms]
        except NoTileFits as error:
            raise NoTileFits(f"{gemms[0]}: {error.culprit}", error.problem, error.advice) from None
        self.search_s += perf_counter() - begin_s
        self.evaluations += len(gemms)
        self.fallbacks += sum(cost.fallback for cost in costs)
        return costs


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
