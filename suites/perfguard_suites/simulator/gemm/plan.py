"""What can be chosen: every factorisation of the cores, every tile that fits, every loop order; once per device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from perfguard_suites.simulator.errors import NoTileFits
from perfguard_suites.simulator.hardware import ACCUMULATOR_BYTES, DTYPE_BYTES, Hardware

Floats = npt.NDArray[np.float64]
BUFFERS = 2
# Outer to inner. The first two keep a tile of C in place; `mkn` keeps one of A, `nkm` one of B, and C's sums travel.
DEALT_ORDERS = ("mnk", "nmk")
OWN_ORDERS = ("mnk", "nmk", "mkn", "nkm")


@dataclass(frozen=True)
class Plan:
    """All that a search on one device and element type chooses from, in the order that breaks ties.

    A choice's index is `(partition * len(tiles) + tile) * len(orders) + order`: of equal latencies, the first
    wins. `fallback`: nothing fits double-buffered, so `tiles` is the smallest of the menu, whose loads then
    wait for the compute before them.
    """

    partitions: tuple[tuple[int, int, int, int], ...]
    tiles: tuple[tuple[int, int, int], ...]
    orders: tuple[str, ...]
    fallback: bool

    @property
    def choices(self) -> int:
        """How many ways there are."""
        return len(self.partitions) * len(self.tiles) * len(self.orders)


def factorisations(cores: int) -> tuple[tuple[int, int, int, int], ...]:
    """All (P_G, P_M, P_N, P_K) of positive integers whose product is `cores`, rising."""
    divisors = [value for value in range(1, cores + 1) if cores % value == 0]
    return tuple(
        (g, m, n, cores // (g * m * n))
        for g in divisors
        for m in divisors
        if cores % (g * m) == 0
        for n in divisors
        if cores % (g * m * n) == 0
    )


def sram_bytes(tile: tuple[int, int, int], dtype: str) -> int:
    """What the tiles of A and B take of a core's SRAM, double-buffered."""
    m, n, k = tile
    return BUFFERS * (m * k + k * n) * DTYPE_BYTES[dtype]


@lru_cache(maxsize=64)
def plan_for(hardware: Hardware, dtype: str) -> Plan:
    """The lists for one device and element type. Raises `NoTileFits` where not even the smallest tile does."""
    hardware.rate(dtype)
    room = int(hardware.sram_bytes_per_core * hardware.sram_usable_fraction)
    menu = [(m, n, k) for m in hardware.tiles_m for n in hardware.tiles_n for k in hardware.tiles_k]
    tiles = tuple(
        tile
        for tile in menu
        if sram_bytes(tile, dtype) <= room
        and tile[0] * tile[1] * ACCUMULATOR_BYTES <= hardware.accumulator_bytes_per_core
    )
    smallest = menu[0]
    if not tiles and (
        sram_bytes(smallest, dtype) > BUFFERS * room
        or smallest[0] * smallest[1] * ACCUMULATOR_BYTES > hardware.accumulator_bytes_per_core
    ):
        raise NoTileFits(
            f"hardware {hardware.name}: tile {smallest} in {dtype}",
            f"needs {sram_bytes(smallest, dtype) // BUFFERS} bytes of SRAM and"
            f" {ACCUMULATOR_BYTES * smallest[0] * smallest[1]} of accumulators;"
            f" a core has {room} and {hardware.accumulator_bytes_per_core}",
            "give smaller tiles_m, tiles_n or tiles_k, or more SRAM",
        )
    return Plan(
        factorisations(hardware.cores),
        tiles or (smallest,),
        DEALT_ORDERS if hardware.deals_tiles else OWN_ORDERS,
        fallback=not tiles,
    )


@dataclass(frozen=True)
class Columns:
    """A plan's lists as columns of floats: `g, m, n, k` of each partition, `tm, tn, tk` of each tile.

    Where tiles are dealt, partitions that split K alike have the same bounds: `distinct` are places of one
    partition of each kind, `kind` says of which kind each partition is.
    """

    g: Floats
    m: Floats
    n: Floats
    k: Floats
    tm: Floats
    tn: Floats
    tk: Floats
    distinct: npt.NDArray[np.intp]
    kind: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Table:
    """One dimension of all pairs of partition and tile, in which few combinations are distinct.

    `parts` and `tiles` are the distinct combinations' columns; `of_pair` says which of them each pair has.
    """

    parts: Floats
    tiles: Floats
    of_pair: npt.NDArray[np.intp]


@lru_cache(maxsize=64)
def tables_for(hardware: Hardware, dtype: str) -> tuple[Table, Table, Table]:
    """The tables of M, N and K for a device whose cores have parts of their own."""
    columns = columns_for(hardware, dtype)
    return (
        _table(columns.m, columns.tm),
        _table(columns.n, columns.tn),
        _table(columns.k, columns.tk),
    )


def _table(parts: Floats, tiles: Floats) -> Table:
    distinct_parts, part = np.unique(parts, return_inverse=True)
    distinct_tiles, tile = np.unique(tiles, return_inverse=True)
    count = len(distinct_tiles)
    return Table(
        np.repeat(distinct_parts, count),
        np.tile(distinct_tiles, len(distinct_parts)),
        (part[:, None] * count + tile[None, :]).ravel(),
    )


@lru_cache(maxsize=64)
def columns_for(hardware: Hardware, dtype: str) -> Columns:
    """`plan_for`'s lists as arrays, for the vectorised search."""
    plan = plan_for(hardware, dtype)
    partitions = np.array(plan.partitions, dtype=np.float64)
    tiles = np.array(plan.tiles, dtype=np.float64)
    distinct = kind = np.arange(len(plan.partitions))
    if hardware.deals_tiles:
        _, distinct, kind = np.unique(partitions[:, 3], return_index=True, return_inverse=True)
    g, m, n, k = (column.copy() for column in partitions.T)
    tm, tn, tk = (column.copy() for column in tiles.T)
    return Columns(g, m, n, k, tm, tn, tk, distinct, kind)
