"""The same search on arrays: all ways at once, or, faster, those that a lower bound does not rule out.

`search_all` computes every way. `search_many` first bounds each pair of partition and tile from below (the core's
time, and the compulsory traffic only), computes the most promising exactly, and then only the pairs whose bound
is not above the best of these; several products are searched in one go, since arrays this small cost what their
number costs. All give what `loop.py` gives, bit for bit: the formulas are the same, in the same order of
operations, and of equal latencies the first in the plan's order wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfguard_suites.simulator.constants import NO_CALIBRATION, Calibration
from perfguard_suites.simulator.gemm.plan import Columns, Floats, Plan, Table, columns_for, plan_for, tables_for
from perfguard_suites.simulator.gemm.problem import Gemm, GemmCost, finish
from perfguard_suites.simulator.hardware import DTYPE_BYTES, Hardware

SUM_BYTES = 4.0
MAX_TOGETHER = 64
_Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Parts:
    """What ways are made of, before the calibration's constants: arrays of one shape, or (orders, that shape).

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
    return search_many(hardware, [gemm], calibration)[0]


def search_many(hardware: Hardware, gemms: Sequence[Gemm], calibration: Calibration = NO_CALIBRATION) -> list[GemmCost]:
    """`search` for several products, which may be of several element types, in their order."""
    found: dict[int, GemmCost] = {}
    for dtype in dict.fromkeys(gemm.dtype for gemm in gemms):
        places = [place for place, gemm in enumerate(gemms) if gemm.dtype == dtype]
        together = MAX_TOGETHER if hardware.deals_tiles else MAX_TOGETHER // 8
        for first in range(0, len(places), together):
            some = places[first : first + together]
            batch = _Batch(hardware, calibration, [gemms[place] for place in some])
            found.update(zip(some, batch.search(), strict=True))
    return [found[place] for place in range(len(gemms))]


def search_all(hardware: Hardware, gemm: Gemm, calibration: Calibration = NO_CALIBRATION) -> GemmCost:
    """The first of the cheapest ways, computing all. Raises `NoTileFits`, `HardwareError`."""
    return _Batch(hardware, calibration, [gemm]).search_all()


def parts_of_all(hardware: Hardware, gemm: Gemm) -> Parts:
    """The parts of every way, in pairs of partition and tile: what a calibration fits on."""
    return _Batch(hardware, NO_CALIBRATION, [gemm]).all_parts()


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


class _Batch:
    """Products of one element type on one device: `dims` are their g, m, n, k as columns of floats."""

    def __init__(self, hardware: Hardware, calibration: Calibration, gemms: Sequence[Gemm]) -> None:
        dtype = gemms[0].dtype
        self._hardware = hardware
        self._calibration = calibration
        self._gemms = gemms
        self._item = float(DTYPE_BYTES[dtype])
        self._rate_hz = hardware.clock_hz * hardware.rate(dtype)
        self._plan: Plan = plan_for(hardware, dtype)
        self._columns: Columns = columns_for(hardware, dtype)
        self._dims = np.array([(gemm.g, gemm.m, gemm.n, gemm.k) for gemm in gemms], dtype=np.float64).T

    def search(self) -> list[GemmCost]:
        """By branch and bound."""
        bounds = self._bounds()
        flat = bounds.reshape(len(self._gemms), -1)
        probes = np.zeros(flat.shape, dtype=bool)
        count = min(1 if self._hardware.deals_tiles else 64, flat.shape[1] - 1)
        promising = np.argpartition(flat, count, axis=1)[:, :count] if count else np.zeros((len(flat), 1), dtype=int)
        np.put_along_axis(probes, promising, values=True, axis=1)
        gemm, partition, tile = self._pairs_of(probes.reshape(bounds.shape))
        latency, _, _ = self._latencies(self._parts(gemm, partition, tile))
        best = np.full(len(self._gemms), np.inf)
        np.minimum.at(best, gemm, latency.min(axis=0))
        return self._first_of_least(*self._pairs_of(bounds <= best[:, None, None]))

    def search_all(self) -> GemmCost:
        """Computing all ways."""
        return self._first_of_least(*self._all())[0]

    def all_parts(self) -> Parts:
        """The parts of all ways of the only product."""
        return self._parts(*self._all())

    def _all(self) -> tuple[_Places, _Places, _Places]:
        pairs = np.arange(len(self._plan.partitions) * len(self._plan.tiles))
        return np.zeros_like(pairs), *np.divmod(pairs, len(self._plan.tiles))

    def _pairs_of(self, mask: npt.NDArray[np.bool_]) -> tuple[_Places, _Places, _Places]:
        """Product, partition and tile of each pair in a mask of (products, kinds of partition, tiles); rising."""
        gemm, partition, tile = np.nonzero(mask[:, self._columns.kind])
        return gemm, partition, tile

    def _first_of_least(self, gemm: _Places, partition: _Places, tile: _Places) -> list[GemmCost]:
        """Of each product, the first of its cheapest ways among some pairs, which rise."""
        parts = self._parts(gemm, partition, tile)
        latency, core_s, memory_s = self._latencies(parts)
        orders = len(self._plan.orders)
        ends = np.searchsorted(gemm, np.arange(len(self._gemms) + 1))
        costs = []
        for number, each in enumerate(self._gemms):
            begin, end = int(ends[number]), int(ends[number + 1])
            # Transposed, so that the first minimum is the first in the plan's order.
            place = int(np.argmin(latency[:, begin:end].T))
            pair, order = begin + place // orders, place % orders
            at = (order, pair)
            chosen = (int(partition[pair]), int(tile[pair]), order)
            figures = (latency[at], core_s[at], memory_s[at], parts.traffic_bytes[at])
            costs.append(finish(self._hardware, each, self._plan, chosen, *map(float, figures)))
        return costs

    def _latencies(self, parts: Parts) -> tuple[Floats, Floats, Floats]:
        return combine(self._hardware, self._calibration, parts, fallback=self._plan.fallback)

    def _bounds(self) -> Floats:
        """No way of a pair is faster than this: (products, kinds of partition, tiles) seconds."""
        columns = self._columns
        dims = self._dims[:, :, None, None]
        a, b, c = self._operands(dims)
        traffic = dims[0] * (a + b + c)
        if not self._hardware.deals_tiles:
            return self._bounds_of_parts(traffic)
        work = self._work(dims, columns.distinct[:, None], np.arange(len(columns.tm))[None, :])
        busy_bytes_per_s = work.busy * self._hardware.core_bandwidth_bytes_per_s
        parts = Parts(work.compute_s, work.fill_s, work.after_s, traffic, busy_bytes_per_s, work.reduction_s)
        return self._latencies(parts)[0]

    def _bounds_of_parts(self, traffic: Floats) -> Floats:
        """The same where cores have parts of their own: from tables of each dimension's few distinct cases.

        What is fetched and written is left out: it depends on the order.
        """
        hardware, columns = self._hardware, self._columns
        g, m, n, k = self._dims[:, :, None]
        pairs = len(columns.m), len(columns.tm)

        def spread(table: Table, values: Floats) -> Floats:
            spread: Floats = np.take(values, table.of_pair, axis=1).reshape(-1, *pairs)
            return spread

        cycles, own, busy = [], [], []
        tables = tables_for(hardware, self._gemms[0].dtype)
        cubes = hardware.cube_m, hardware.cube_n, hardware.cube_k
        for table, extent, cube in zip(tables, (m, n, k), cubes, strict=True):
            tiles = np.ceil(extent / table.tiles)
            owned = np.ceil(tiles / table.parts)
            cycles.append(spread(table, _cycles(owned, tiles, extent, table.tiles, cube)))
            own.append(owned)
            busy.append(spread(table, np.ceil(tiles / owned)))
        own_g = np.ceil(g / columns.g)[:, :, None]
        rounds = own_g * spread(tables[0], own[0]) * spread(tables[1], own[1])
        slices = busy[2]
        compute_s = own_g * (cycles[0] * cycles[1] * cycles[2]) / self._rate_hz
        busy_cores = np.ceil(g[:, :, None] / own_g) * busy[0] * busy[1] * slices
        parts = Parts(
            compute_s=compute_s,
            fill_s=np.zeros(1),
            after_s=rounds * hardware.tile_start_s,
            traffic_bytes=traffic,
            busy_bytes_per_s=busy_cores * hardware.core_bandwidth_bytes_per_s,
            reduction_s=self._reduction_s(slices, g[:, :, None], m[:, :, None], n[:, :, None]),
        )
        return self._latencies(parts)[0]

    def _reduction_s(self, slices: Floats, g: Floats, m: Floats, n: Floats) -> Floats:
        hardware = self._hardware
        sums = slices * g * (m * n * self._item) / self._item * (2.0 * SUM_BYTES)
        seconds: Floats = np.where(slices > 1, sums / hardware.l2_bandwidth_bytes_per_s + hardware.tile_start_s, 0.0)
        return seconds

    def _operands(self, dims: Floats) -> tuple[Floats, Floats, Floats]:
        """Bytes of one product's A, B and C."""
        _, m, n, k = dims
        return m * k * self._item, k * n * self._item, m * n * self._item

    def _work(self, dims: Floats, partition: _Places, tile: _Places) -> _Work:
        """For products, partitions and tiles that broadcast against each other."""
        hardware, columns = self._hardware, self._columns
        g, m, n, k = dims
        tm, tn, tk = columns.tm[tile], columns.tn[tile], columns.tk[tile]
        tiles_m, tiles_n, tiles_k = np.ceil(m / tm), np.ceil(n / tn), np.ceil(k / tk)
        steps_k = np.ceil(tiles_k / columns.k[partition])
        slices = np.ceil(tiles_k / steps_k)
        split = slices > 1
        cores = float(hardware.cores)
        if hardware.deals_tiles:
            units = g * tiles_m * tiles_n * slices
            own_g = own_m = own_n = rounds = np.ceil(units / cores)
            busy = np.minimum(units, cores)
            steps = np.ceil(tm / hardware.cube_m), np.ceil(tn / hardware.cube_n), np.ceil(tk / hardware.cube_k)
            cycles = rounds * steps[0] * steps[1] * (steps_k * steps[2])
            cycles = np.where(split & (units > cores), np.inf, cycles)
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
        port_bytes_per_s = hardware.l2_bandwidth_bytes_per_s / cores
        em, en, ek = np.minimum(tm, m), np.minimum(tn, n), np.minimum(tk, k)
        result_item = np.where(split, SUM_BYTES, self._item)
        both = np.maximum(em, en) / hardware.multicast_cores + np.minimum(em, en)
        started_s = rounds * hardware.tile_start_s
        return _Work(
            compute_s=cycles / self._rate_hz,
            fill_s=rounds * steps_k * (ek * both) * self._item / port_bytes_per_s,
            after_s=started_s + rounds * (em * en) * result_item / port_bytes_per_s,
            started_s=started_s,
            reduction_s=self._reduction_s(slices, g, m, n),
            busy=busy,
            rounds=rounds,
            own_g=own_g,
            own_m=own_m,
            own_n=own_n,
            steps_k=steps_k,
            tiles_m=tiles_m,
            tiles_n=tiles_n,
            result_item=result_item,
        )

    def _parts(self, gemm: _Places, partition: _Places, tile: _Places) -> Parts:
        """The parts of the ways of some pairs: order-dependent ones shaped (orders, pairs)."""
        hardware, columns = self._hardware, self._columns
        dims = self._dims[:, gemm]
        work = self._work(dims, partition, tile)
        a, b, c = self._operands(dims)
        room = hardware.l2_bytes / 2.0
        p_g = columns.g[partition]
        reads_b = np.where(p_g * b <= room, 1.0, np.ceil(work.tiles_m / columns.m[partition]))
        reads_a = np.where(p_g * a <= room, 1.0, np.ceil(work.tiles_n / columns.n[partition]))
        by_rows, by_columns = dims[0] * (a + b * reads_b + c), dims[0] * (a * reads_a + b + c)
        ports = [
            (work.fill_s, work.after_s) if order in {"mnk", "nmk"} else self._stationary(dims, tile, work, order)
            for order in self._plan.orders
        ]
        return Parts(
            work.compute_s,
            np.array([fill_s for fill_s, _ in ports]),
            np.array([after_s for _, after_s in ports]),
            np.array([by_rows if order[0] == "m" else by_columns for order in self._plan.orders]),
            work.busy * hardware.core_bandwidth_bytes_per_s,
            work.reduction_s,
        )

    def _stationary(self, dims: Floats, tile: _Places, work: _Work, order: str) -> tuple[Floats, Floats]:
        """Fill and after seconds where a tile of A (`mkn`) or B (`nkm`) stays and the sums of C travel."""
        hardware, columns = self._hardware, self._columns
        port_bytes_per_s = hardware.l2_bandwidth_bytes_per_s / float(hardware.cores)
        m = np.minimum(columns.tm[tile], dims[1])
        n = np.minimum(columns.tn[tile], dims[2])
        k = np.minimum(columns.tk[tile], dims[3])
        rounds, steps_k = work.rounds, work.steps_k
        if order == "mkn":
            fill = (work.own_g * work.own_m * steps_k * (m * k) + rounds * steps_k * (k * n)) * self._item
        else:
            fill = (work.own_g * work.own_n * steps_k * (k * n) + rounds * steps_k * (m * k)) * self._item
        result = rounds * (m * n) * (2.0 * SUM_BYTES * (steps_k - 1.0) + work.result_item)
        return fill / port_bytes_per_s, work.started_s + result / port_bytes_per_s


def _cycles(own: Floats, tiles: Floats, extent: Floats, tile: Floats, cube: int) -> Floats:
    """Cube steps along one dimension of the first core, which has the most: its last tile is partial if it has all."""
    whole = np.ceil(tile / cube)
    partial = np.ceil((extent - (tiles - 1.0) * tile) / cube)
    cycles: Floats = np.where(own == tiles, (own - 1.0) * whole + partial, own * whole)
    return cycles
