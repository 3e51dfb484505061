"""The plain nested loop over partitions, tiles, loop orders and cores: what the searches must agree with, bit for bit.

Here each formula stands as it is meant, one way at a time; `search.py` computes the same on arrays. Extents are
floats throughout, so that both round alike beyond 2^53.

One way of computing `G` products [M, K] x [K, N] on a device costs

    latency = sqrt(core^2 + memory^2) + reduction + fixed

- **core**: seconds of the busiest core. Either its matrix unit or its share of the L2's bandwidth is the slower;
  each tile of C starts with an empty pipeline (`tile_start_s`) and ends with writing the tile.
- **memory**: DRAM traffic over what the busy cores together can ask of it. The operand of the outer loop is read
  once; the other once per row (column) of tiles that are in work together, or once if half the L2 holds it.
- **reduction**: partial sums of a product split along K, written to and read from the L2.

Core and memory time overlap in part: the root of the sum of squares lies between the larger (all hidden) and the
sum (nothing hidden; taken where `overlaps_dma` is false). Each term is at least the roofline's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from perfguard_suites.simulator.constants import NO_CALIBRATION, Calibration
from perfguard_suites.simulator.gemm.plan import Plan, plan_for
from perfguard_suites.simulator.gemm.problem import Gemm, GemmCost, finish
from perfguard_suites.simulator.hardware import DTYPE_BYTES, Hardware

SUM_BYTES = 4.0


@dataclass(frozen=True, slots=True)
class Way:
    """What one way costs, in seconds and bytes."""

    latency_s: float
    core_s: float
    memory_s: float
    traffic_bytes: float


def search_by_loop(hardware: Hardware, gemm: Gemm, calibration: Calibration = NO_CALIBRATION) -> GemmCost:
    """The first of the cheapest ways. Raises `NoTileFits`, `HardwareError`. Seconds: this is the oracle."""
    plan = plan_for(hardware, gemm.dtype)
    best: Way | None = None
    chosen = (0, 0, 0)
    for p, partition in enumerate(plan.partitions):
        for t, tile in enumerate(plan.tiles):
            for o, order in enumerate(plan.orders):
                way = cost_of_way(hardware, gemm, calibration, plan, partition, tile, order)
                if way is not None and (best is None or way.latency_s < best.latency_s):
                    best, chosen = way, (p, t, o)
    assert best is not None  # a partition with P_K = 1 is always possible
    return finish(hardware, gemm, plan, chosen, best.latency_s, best.core_s, best.memory_s, best.traffic_bytes)


def cost_of_way(
    hardware: Hardware,
    gemm: Gemm,
    calibration: Calibration,
    plan: Plan,
    partition: tuple[int, int, int, int],
    tile: tuple[int, int, int],
    order: str,
) -> Way | None:
    """What one way costs; None where it cannot be taken."""
    share = share_work(hardware, gemm, partition, tile)
    if share is None:
        return None
    item = float(DTYPE_BYTES[gemm.dtype])
    result_item = SUM_BYTES if share.slices > 1 else item
    fill_bytes, result_bytes = port_bytes(hardware, gemm, share, tile, order, result_item)

    compute_s = share.cycles / (hardware.clock_hz * hardware.rate(gemm.dtype)) / calibration.compute_efficiency
    port_bytes_per_s = hardware.l2_bandwidth_bytes_per_s / float(hardware.cores)
    fill_s = fill_bytes / port_bytes_per_s
    overlapped = compute_s + fill_s if plan.fallback else max(compute_s, fill_s)
    after_s = share.rounds * hardware.tile_start_s + result_bytes / port_bytes_per_s
    core_s = overlapped + after_s

    traffic = dram_bytes(hardware, gemm, share, partition, order)
    bandwidth = min(
        hardware.dram_bandwidth_bytes_per_s * calibration.memory_efficiency,
        share.busy * hardware.core_bandwidth_bytes_per_s,
    )
    memory_s = traffic / bandwidth

    together_s = math.sqrt(core_s * core_s + memory_s * memory_s) if hardware.overlaps_dma else core_s + memory_s
    reduction_s = 0.0
    if share.slices > 1:
        sums = share.slices * float(gemm.g) * (float(gemm.m) * float(gemm.n) * item) / item * (2.0 * SUM_BYTES)
        reduction_s = sums / hardware.l2_bandwidth_bytes_per_s + hardware.tile_start_s
    return Way(together_s + reduction_s + calibration.fixed_s, core_s, memory_s, traffic)


@dataclass(frozen=True, slots=True)
class Share:
    """What the busiest core has to do, and how many cores are busy.

    `rounds` tiles of C, as `own_g` products of `own_m` by `own_n` tiles, each in `steps_k` steps; K is split into
    `slices`; `cycles` of the matrix unit.
    """

    rounds: float
    own_g: float
    own_m: float
    own_n: float
    steps_k: float
    slices: float
    tiles_m: int
    tiles_n: int
    busy: float
    cycles: float


def share_work(
    hardware: Hardware, gemm: Gemm, partition: tuple[int, int, int, int], tile: tuple[int, int, int]
) -> Share | None:
    """Deal the tiles to the cores, or give each core its part; None where the split along K is not to be."""
    rows, columns, depth = float(gemm.m), float(gemm.n), float(gemm.k)
    p_g, p_m, p_n, p_k = map(float, partition)
    t_m, t_n, t_k = map(float, tile)
    tiles_m, tiles_n, tiles_k = math.ceil(rows / t_m), math.ceil(columns / t_n), math.ceil(depth / t_k)
    steps_k = _ceil(tiles_k / p_k)
    slices = _ceil(tiles_k / steps_k)
    cores = float(hardware.cores)
    if hardware.deals_tiles:
        units = float(gemm.g) * tiles_m * tiles_n * slices
        if slices > 1 and units > cores:
            return None  # a product is split along K only where its tiles do not fill the cores
        rounds = max(_dealt(core, units, cores) for core in range(hardware.cores))
        steps_m, steps_n = math.ceil(t_m / hardware.cube_m), math.ceil(t_n / hardware.cube_n)
        cycles = rounds * steps_m * steps_n * (steps_k * math.ceil(t_k / hardware.cube_k))
        busy = min(units, cores)
        return Share(rounds, rounds, rounds, rounds, steps_k, slices, tiles_m, tiles_n, busy, cycles)
    own_g, own_m, own_n = _ceil(float(gemm.g) / p_g), _ceil(tiles_m / p_m), _ceil(tiles_n / p_n)
    busy = _ceil(float(gemm.g) / own_g) * _ceil(tiles_m / own_m) * _ceil(tiles_n / own_n) * slices
    cycles = max(
        _cycles(index_m, own_m, tiles_m, rows, t_m, hardware.cube_m)
        * _cycles(index_n, own_n, tiles_n, columns, t_n, hardware.cube_n)
        * _cycles(index_k, steps_k, tiles_k, depth, t_k, hardware.cube_k)
        for index_m in range(partition[1])
        for index_n in range(partition[2])
        for index_k in range(partition[3])
    )
    rounds = own_g * own_m * own_n
    return Share(rounds, own_g, own_m, own_n, steps_k, slices, tiles_m, tiles_n, busy, own_g * cycles)


def port_bytes(
    hardware: Hardware,
    gemm: Gemm,
    share: Share,
    tile: tuple[int, int, int],
    order: str,
    result_item: float,
) -> tuple[float, float]:
    """What the busiest core fetches of A and B, and what it writes (and reads again) of C."""
    item = float(DTYPE_BYTES[gemm.dtype])
    t_m, t_n, t_k = min(float(tile[0]), gemm.m), min(float(tile[1]), gemm.n), min(float(tile[2]), gemm.k)
    rounds, steps_k = share.rounds, share.steps_k
    if order in {"mnk", "nmk"}:
        both = max(t_m, t_n) / hardware.multicast_cores + min(t_m, t_n)
        return rounds * steps_k * (t_k * both) * item, rounds * (t_m * t_n) * result_item
    if order == "mkn":
        fill = (share.own_g * share.own_m * steps_k * (t_m * t_k) + rounds * steps_k * (t_k * t_n)) * item
    else:
        fill = (share.own_g * share.own_n * steps_k * (t_k * t_n) + rounds * steps_k * (t_m * t_k)) * item
    return fill, rounds * (t_m * t_n) * (2.0 * SUM_BYTES * (steps_k - 1.0) + result_item)


def dram_bytes(hardware: Hardware, gemm: Gemm, share: Share, partition: tuple[int, int, int, int], order: str) -> float:
    """What crosses the DRAM: the operand of the outer loop once, the other again for each row or column of tiles."""
    rows, columns, depth = float(gemm.m), float(gemm.n), float(gemm.k)
    item = float(DTYPE_BYTES[gemm.dtype])
    a, b, c = rows * depth * item, depth * columns * item, rows * columns * item
    p_g, p_m, p_n, _ = map(float, partition)
    room = hardware.l2_bytes / 2.0
    reads_a, reads_b = 1.0, 1.0
    if order[0] == "m":
        reads_b = 1.0 if p_g * b <= room else _ceil(share.tiles_m / p_m)
    else:
        reads_a = 1.0 if p_g * a <= room else _ceil(share.tiles_n / p_n)
    return float(gemm.g) * (a * reads_a + b * reads_b + c)


def _ceil(value: float) -> float:
    return float(math.ceil(value))


def _dealt(core: int, units: float, cores: float) -> float:
    """Tiles that one core gets of `units` dealt in turn."""
    return max(0.0, _ceil((units - core) / cores))


def _cycles(index: int, own: float, tiles: int, extent: float, tile: float, cube: int) -> float:
    """Cube steps along one dimension of the core with that index, whose `own` tiles may end in a partial one."""
    first = index * own
    last = min(first + own, float(tiles))
    if last <= first:
        return 0.0
    whole = last - first
    if last == tiles:
        return (whole - 1.0) * math.ceil(tile / cube) + math.ceil((extent - (tiles - 1.0) * tile) / cube)
    return whole * math.ceil(tile / cube)
