"""What is asked, and what is answered: one matrix product, and the cheapest way found to compute it."""

from __future__ import annotations

from dataclasses import dataclass

from perfguard_suites.simulator.errors import ShapeError
from perfguard_suites.simulator.gemm.plan import Plan
from perfguard_suites.simulator.hardware import DTYPE_BYTES, Hardware

MAX_EXTENT = 1 << 31


@dataclass(frozen=True, slots=True)
class Gemm:
    """`g` independent products `C[m, n] = A[m, k] B[k, n]`, all operands in `dtype`. Raises `ShapeError`."""

    g: int
    m: int
    n: int
    k: int
    dtype: str = "bf16"

    def __post_init__(self) -> None:
        for name in ("g", "m", "n", "k"):
            extent = getattr(self, name)
            if type(extent) is not int or not 1 <= extent <= MAX_EXTENT:
                raise ShapeError(f"{self}: {name}", f"{extent!r:.40} is not in 1 .. {MAX_EXTENT}")
        if self.dtype not in DTYPE_BYTES:
            raise ShapeError(f"{self}: dtype", "unknown", f"know {', '.join(DTYPE_BYTES)}")
        if self.flops > 1 << 62:
            raise ShapeError(str(self), f"{self.flops} operations are more than any device does in a month")

    def __str__(self) -> str:
        groups = f"{self.g} x " if self.g != 1 else ""
        return f"gemm {groups}[{self.m}, {self.k}] x [{self.k}, {self.n}] {self.dtype}"

    @property
    def flops(self) -> int:
        """Two for each multiply-add."""
        return 2 * self.g * self.m * self.n * self.k

    @property
    def compulsory_bytes(self) -> int:
        """Both operands read once and the result written once."""
        return self.g * DTYPE_BYTES[self.dtype] * (self.m * self.k + self.k * self.n + self.m * self.n)


@dataclass(frozen=True, slots=True)
class GemmCost:
    """The cheapest way that was found, and what it costs.

    `tile` is (m, n, k), `order` the loops from outer to inner, `partition` (P_G, P_M, P_N, P_K); `traffic_bytes`
    is what crosses the DRAM. `fallback`: no tile fits the SRAM, so the smallest of the menu was taken, single-
    buffered or not; the figure is then a guess, and is said to be one in the statistics.
    """

    latency_s: float
    compute_s: float
    memory_s: float
    traffic_bytes: int
    flops: int
    tile: tuple[int, int, int]
    order: str
    partition: tuple[int, int, int, int]
    fallback: bool


def roofline_s(hardware: Hardware, gemm: Gemm) -> float:
    """The byte-correct roofline, seconds: no device with these figures computes `gemm` in less."""
    return max(
        gemm.flops / hardware.peak_flops_per_s(gemm.dtype),
        gemm.compulsory_bytes / hardware.dram_bandwidth_bytes_per_s,
    )


def finish(
    hardware: Hardware,
    gemm: Gemm,
    plan: Plan,
    chosen: tuple[int, int, int],
    latency_s: float,
    core_s: float,
    memory_s: float,
    traffic_bytes: float,
) -> GemmCost:
    """The answer in which partition, tile and order `chosen` are the cheapest."""
    partition, tile, order = chosen
    return GemmCost(
        # The roofline bounds each way; this keeps the last bit of a quotient from saying otherwise.
        latency_s=max(latency_s, roofline_s(hardware, gemm)),
        compute_s=core_s,
        memory_s=memory_s,
        traffic_bytes=int(traffic_bytes),
        flops=gemm.flops,
        tile=plan.tiles[tile],
        order=plan.orders[order],
        partition=plan.partitions[partition],
        fallback=plan.fallback,
    )
