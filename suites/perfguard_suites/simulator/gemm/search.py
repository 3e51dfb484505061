"""The same search on arrays: all ways at once, or, faster, those that a lower bound does not rule out.

`search_all` computes every way. `search` first bounds each pair of partition and tile from below (the core's
time, and the compulsory traffic only), computes the most promising exactly, and then only the pairs whose bound
is not above the best of these. Both give what `loop.py` gives, bit for bit: the formulas are the same, in the
same order of operations, and of equal latencies the first in the plan's order wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfguard_suites.simulator.constants import NO_CALIBRATION, Calibration
from perfguard_suites.simulator.gemm.plan import Columns, Floats, Plan, columns_for, plan_for
from perfguard_suites.simulator.gemm.problem import Gemm, GemmCost, finish
from perfguard_suites.simulator.hardware import DTYPE_BYTES, Hardware

SUM_BYTES = 4.0
PROBES = 12


@dataclass(frozen=True)
class Parts:
    """What ways are made of, before the calibration's constants: arrays of one shape.

    `compute_s` at full efficiency; `after_s` is what the core adds to the slower of compute and fill;
    `busy_bytes_per_s` is what the busy cores can ask of the memory; impossible ways have an infinite `compute_s`.
    """

    compute_s: Floats
    fill_s: Floats
    after_s: Floats
    traffic_bytes: Floats
    busy_bytes_per_s: Floats
    reduction_s: Floats


def search(hardware: Hardware, gemm: Gemm, calibration: Calibration = NO_CALIBRATION) -> GemmCost:
    """The first of the cheapest ways, by branch and bound. Raises `NoTileFits`, `HardwareError`."""
    plan = plan_for(hardware, gemm.dtype)
    columns = columns_for(hardware, gemm.dtype)
    orders = len(plan.orders)
    bound = _bounds(hardware, gemm, calibration, columns).ravel()
    probes = np.argpartition(bound, PROBES)[:PROBES] if len(bound) > PROBES else np.arange(len(bound))
    best = _latencies(hardware, gemm, calibration, plan, columns, probes)[0].min()
    pairs = np.flatnonzero(bound <= best)
    latency, parts, core_s, memory_s = _latencies(hardware, gemm, calibration, plan, columns, pairs)
    return _first_of_least(hardware, gemm, plan, pairs, (latency, parts, core_s, memory_s), orders)


def search_all(hardware: Hardware, gemm: Gemm, calibration: Calibration = NO_CALIBRATION) -> GemmCost:
    """The first of the cheapest ways, computing all. Raises `NoTileFits`, `HardwareError`."""
    plan = plan_for(hardware, gemm.dtype)
    columns = columns_for(hardware, gemm.dtype)
    pairs = np.arange(len(plan.partitions) * len(plan.tiles))
    found = _latencies(hardware, gemm, calibration, plan, columns, pairs)
    return _first_of_least(hardware, gemm, plan, pairs, found, len(plan.orders))


def parts_of_all(hardware: Hardware, gemm: Gemm) -> Parts:
    """The parts of every way, shaped (orders, pairs): what a calibration fits on."""
    plan = plan_for(hardware, gemm.dtype)
    columns = columns_for(hardware, gemm.dtype)
    return _parts(hardware, gemm, plan, columns, np.arange(len(plan.partitions) * len(plan.tiles)))


def combine(
    hardware: Hardware, calibration: Calibration, parts: Parts, *, fallback: bool
) -> tuple[Floats, Floats, Floats]:
    """Latency, core and memory seconds of ways whose parts are known."""
    compute_s = parts.compute_s / calibration.compute_efficiency
    overlapped = compute_s + parts.fill_s if fallback else np.maximum(compute_s, parts.fill_s)
    core_s = overlapped + parts.after_s
    bandwidth = np.minimum(hardware.dram_bandwidth_bytes_per_s * calibration.memory_efficiency, parts.busy_bytes_per_s)
    memory_s = parts.traffic_bytes / bandwidth
    together_s = np.sqrt(core_s * core_s + memory_s * memory_s) if hardware.overlaps_dma else core_s + memory_s
    return together_s + parts.reduction_s + calibration.fixed_s, core_s, memory_s


Found = tuple[Floats, Parts, Floats, Floats]


def _latencies(
    hardware: Hardware,
    gemm: Gemm,
    calibration: Calibration,
    plan: Plan,
    columns: Columns,
    pairs: npt.NDArray[np.intp],
) -> Found:
    parts = _parts(hardware, gemm, plan, columns, pairs)
    latency, core_s, memory_s = combine(hardware, calibration, parts, fallback=plan.fallback)
    return latency, parts, core_s, memory_s


def _first_of_least(
    hardware: Hardware, gemm: Gemm, plan: Plan, pairs: npt.NDArray[np.intp], found: Found, orders: int
) -> GemmCost:
    latency, parts, core_s, memory_s = found
    # Pairs rise, so the first minimum of the transposed array is the first in the plan's order.
    place = int(np.argmin(latency.T))
    pair, order = place // orders, place % orders
    partition, tile = divmod(int(pairs[pair]), len(plan.tiles))
    at = (order, pair)
    return finish(
        hardware,
        gemm,
        plan,
        (partition, tile, order),
        float(latency[at]),
        float(core_s[at]),
        float(memory_s[at]),
        float(parts.traffic_bytes[at]),
    )


def _bounds(hardware: Hardware, gemm: Gemm, calibration: Calibration, columns: Columns) -> Floats:
    """No way of a pair is faster than this: (partitions, tiles) seconds."""
    work = _work(hardware, gemm, columns, columns.distinct[:, None], np.arange(len(columns.tm))[None, :])
    item = DTYPE_BYTES[gemm.dtype]
    rows, depth, width = float(gemm.m), float(gemm.k), float(gemm.n)
    traffic = float(gemm.g) * (rows * depth * item + depth * width * item + rows * width * item)
    bandwidth = np.minimum(
        hardware.dram_bandwidth_bytes_per_s * calibration.memory_efficiency,
        work.busy * hardware.core_bandwidth_bytes_per_s,
    )
    memory_s = traffic / bandwidth
    core_s = work.compute_s / calibration.compute_efficiency
    # Where there are other orders, these may fill and write less than `mnk`.
    exact = hardware.deals_tiles
    core_s = np.maximum(core_s, work.fill_s) + work.after_s if exact else core_s + work.started_s
    together_s = np.sqrt(core_s * core_s + memory_s * memory_s) if hardware.overlaps_dma else core_s + memory_s
    bounds: Floats = together_s + work.reduction_s + calibration.fixed_s
    return bounds[columns.kind]


_Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class _Work:
    """What does not depend on the loop order, but for `fill_s` and `after_s`, which are those of `mnk`."""

    compute_s: Floats
    fill_s: Floats
    after_s: Floats
    started_s: Floats
    reduction_s: Floats
    busy: Floats
    rounds: Floats
    own_g: Floats
    own_m: Floats
    own_n: Floats
    steps_k: Floats
    tiles_m: Floats
    tiles_n: Floats
    result_item: Floats


def _work(hardware: Hardware, gemm: Gemm, columns: Columns, partition: _Places, tile: _Places) -> _Work:
    """Indexed by `partition` into the partitions' columns and `tile` into the tiles'."""
    g, m, n, k = float(gemm.g), float(gemm.m), float(gemm.n), float(gemm.k)
    item, cores = float(DTYPE_BYTES[gemm.dtype]), float(hardware.cores)
    tm, tn, tk = columns.tm[tile], columns.tn[tile], columns.tk[tile]
    p_k = columns.k[partition]
    tiles_m, tiles_n, tiles_k = np.ceil(m / tm), np.ceil(n / tn), np.ceil(k / tk)
    steps_k = np.ceil(tiles_k / p_k)
    slices = np.ceil(tiles_k / steps_k)
    split = slices > 1
    if hardware.deals_tiles:
        units = g * tiles_m * tiles_n * slices
        rounds = np.ceil(units / cores)
        busy = np.minimum(units, cores)
        cycles = (
            rounds
            * np.ceil(tm / hardware.cube_m)
            * np.ceil(tn / hardware.cube_n)
            * (steps_k * np.ceil(tk / hardware.cube_k))
        )
        cycles = np.where(split & (units > cores), np.inf, cycles)
        own_g, own_m, own_n = rounds, rounds, rounds
    else:
        own_g = np.ceil(g / columns.g[partition])
        own_m = np.ceil(tiles_m / columns.m[partition])
        own_n = np.ceil(tiles_n / columns.n[partition])
        rounds = own_g * own_m * own_n
        busy = np.ceil(g / own_g) * np.ceil(tiles_m / own_m) * np.ceil(tiles_n / own_n) * slices
        cycles = own_g * (
            _cycles(own_m, tiles_m, m, tm, hardware.cube_m)
            * _cycles(own_n, tiles_n, n, tn, hardware.cube_n)
            * _cycles(steps_k, tiles_k, k, tk, hardware.cube_k)
        )
    compute_s = cycles / (hardware.clock_hz * hardware.rate(gemm.dtype))
    port_bytes_per_s = hardware.l2_bandwidth_bytes_per_s / cores
    em, en, ek = np.minimum(tm, m), np.minimum(tn, n), np.minimum(tk, k)
    result_item = np.where(split, SUM_BYTES, item)
    shared = np.maximum(em, en) / hardware.multicast_cores + np.minimum(em, en)
    fill_s = rounds * steps_k * (ek * shared) * item / port_bytes_per_s
    started_s = rounds * hardware.tile_start_s
    after_s = started_s + rounds * (em * en) * result_item / port_bytes_per_s
    reduction_s = slices * g * (m * n * item) / item * (2.0 * SUM_BYTES) / hardware.l2_bandwidth_bytes_per_s
    return _Work(
        compute_s,
        fill_s,
        after_s,
        started_s,
        np.where(split, reduction_s + hardware.tile_start_s, 0.0),
        busy,
        rounds,
        own_g,
        own_m,
        own_n,
        steps_k,
        tiles_m,
        tiles_n,
        result_item,
    )


def _cycles(own: Floats, tiles: Floats, extent: float, tile: Floats, cube: int) -> Floats:
    """Cube steps along one dimension of the first core, which has the most: its last tile is partial if it has all."""
    whole = np.ceil(tile / cube)
    partial = np.ceil((extent - (tiles - 1.0) * tile) / cube)
    cycles: Floats = np.where(own == tiles, (own - 1.0) * whole + partial, own * whole)
    return cycles


def _parts(hardware: Hardware, gemm: Gemm, plan: Plan, columns: Columns, pairs: npt.NDArray[np.intp]) -> Parts:
    """The parts of the ways of some pairs of partition and tile, shaped (orders, pairs)."""
    partition, tile = np.divmod(pairs, len(plan.tiles))
    work = _work(hardware, gemm, columns, partition, tile)
    item = float(DTYPE_BYTES[gemm.dtype])
    g, m, n, k = float(gemm.g), float(gemm.m), float(gemm.n), float(gemm.k)
    a, b, c = m * k * item, k * n * item, m * n * item
    room = hardware.l2_bytes / 2.0
    p_g = columns.g[partition]
    reads_b = np.where(p_g * b <= room, 1.0, np.ceil(work.tiles_m / columns.m[partition]))
    reads_a = np.where(p_g * a <= room, 1.0, np.ceil(work.tiles_n / columns.n[partition]))
    fill_s, after_s, traffic = [], [], []
    for order in plan.orders:
        fill_s.append(work.fill_s)
        after_s.append(work.after_s)
        if order in {"mkn", "nkm"}:
            fill, after = _stationary(hardware, gemm, columns, tile, work, order)
            fill_s[-1], after_s[-1] = fill, after
        traffic.append(g * (a + b * reads_b + c) if order[0] == "m" else g * (a * reads_a + b + c))
    return Parts(
        work.compute_s,
        np.array(fill_s),
        np.array(after_s),
        np.array(traffic),
        work.busy * hardware.core_bandwidth_bytes_per_s,
        work.reduction_s,
    )


def _stationary(
    hardware: Hardware, gemm: Gemm, columns: Columns, tile: npt.NDArray[np.intp], work: _Work, order: str
) -> tuple[Floats, Floats]:
    """Fill and after seconds where a tile of A (`mkn`) or B (`nkm`) stays and the sums of C travel."""
    item = float(DTYPE_BYTES[gemm.dtype])
    port_bytes_per_s = hardware.l2_bandwidth_bytes_per_s / float(hardware.cores)
    m = np.minimum(columns.tm[tile], float(gemm.m))
    n = np.minimum(columns.tn[tile], float(gemm.n))
    k = np.minimum(columns.tk[tile], float(gemm.k))
    rounds, steps_k = work.rounds, work.steps_k
    if order == "mkn":
        fill = (work.own_g * work.own_m * steps_k * (m * k) + rounds * steps_k * (k * n)) * item
    else:
        fill = (work.own_g * work.own_n * steps_k * (k * n) + rounds * steps_k * (m * k)) * item
    result = rounds * (m * n) * (2.0 * SUM_BYTES * (steps_k - 1.0) + work.result_item)
    return fill / port_bytes_per_s, rounds * hardware.tile_start_s + result / port_bytes_per_s
