"""Results that outlive an evaluator: in memory, and in a folder that several processes may share.

A folder holds one file for each device, constants, kind of evaluation and version of the cost model, so that
whatever could change a result changes the file's name. A line is a checksum and one result as JSON; it is appended
in one write under a lock, and a line that is torn, garbled or impossible is skipped, counted and computed again.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perfguard_suites.simulator.errors import CacheError, SimulatorError
from perfguard_suites.simulator.gemm.problem import Gemm, GemmCost

try:
    import fcntl
except ImportError:  # Windows: single appended writes, and checksums for what tears nevertheless
    fcntl = None  # type: ignore[assignment]

VERSION = 1
MAX_ENTRIES = 65536
MAX_FILE_BYTES = 32 << 20
_LOG = logging.getLogger(__name__)


class Cache:
    """Costs by product, for each `key` (device, constants, version); bounded; not for several threads at once.

    `directory`: None keeps results in this process only. `corrupted` counts the lines that were skipped.
    Raises `CacheError` where the directory cannot be made, or a file not be read or written.
    """

    def __init__(self, directory: str | Path | None = None, *, max_entries: int = MAX_ENTRIES) -> None:
        self._directory = None if directory is None else Path(directory)
        self._max_entries = max_entries
        self._known: dict[str, dict[Gemm, GemmCost]] = {}
        self._from_disk: dict[str, set[Gemm]] = {}
        self.corrupted = 0
        if self._directory is not None:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CacheError(str(self._directory), error.strerror or str(error), "give a folder") from None

    def get(self, key: str, gemm: Gemm) -> tuple[GemmCost, bool] | None:
        """The cost of `gemm` and whether it came from the disk, or None."""
        known = self._entries(key)
        cost = known.get(gemm)
        return None if cost is None else (cost, gemm in self._from_disk[key])

    def put(self, key: str, found: Iterable[tuple[Gemm, GemmCost]]) -> None:
        """Keep results; the oldest go where there are too many."""
        known = self._entries(key)
        fresh = [(gemm, cost) for gemm, cost in found if gemm not in known]
        for gemm, cost in fresh:
            while len(known) >= self._max_entries:
                oldest = next(iter(known))
                del known[oldest]
                self._from_disk[key].discard(oldest)
            known[gemm] = cost
        if fresh and self._directory is not None:
            self._append(self._path(key), b"".join(encode(gemm, cost) for gemm, cost in fresh))

    def _entries(self, key: str) -> dict[Gemm, GemmCost]:
        if key not in self._known:
            self._known[key] = self._load(key)
            self._from_disk[key] = set(self._known[key])
        return self._known[key]

    def _path(self, key: str) -> Path:
        assert self._directory is not None
        return self._directory / f"gemm-v{VERSION}-{key}.lines"

    def _load(self, key: str) -> dict[Gemm, GemmCost]:
        known: dict[Gemm, GemmCost] = {}
        if self._directory is None:
            return known
        path = self._path(key)
        try:
            with path.open("rb") as stream:
                content = stream.read(MAX_FILE_BYTES)
        except FileNotFoundError:
            return known
        except OSError as error:
            raise CacheError(str(path), error.strerror or str(error)) from None
        corrupted = 0
        for line in content.split(b"\n"):
            entry = decode(line) if line else None
            if entry is not None and len(known) < self._max_entries:
                known[entry[0]] = entry[1]
            corrupted += bool(line) and entry is None
        if corrupted:
            self.corrupted += corrupted
            _LOG.warning("%s: %d corrupted entries, computed again where needed", path, corrupted)
        return known

    def _append(self, path: Path, lines: bytes) -> None:
        try:
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise CacheError(str(path), error.strerror or str(error)) from None
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX)  # held for one write; the kernel frees it if this process dies
            size = os.fstat(handle).st_size
            if size + len(lines) > MAX_FILE_BYTES:
                os.ftruncate(handle, 0)  # full: starts anew, rather than growing for ever
            elif size and os.pread(handle, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # another process died in the middle of a line
            os.write(handle, lines)
        except OSError as error:
            raise CacheError(str(path), error.strerror or str(error)) from None
        finally:
            os.close(handle)


def encode(gemm: Gemm, cost: GemmCost) -> bytes:
    """One line: checksum, space, JSON, newline; floats come back exactly."""
    text = json.dumps(
        [
            [gemm.g, gemm.m, gemm.n, gemm.k, gemm.dtype],
            [cost.latency_s, cost.compute_s, cost.memory_s, cost.traffic_bytes],
            [list(cost.tile), cost.order, list(cost.partition), cost.fallback],
        ],
        separators=(",", ":"),
    ).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> tuple[Gemm, GemmCost] | None:
    """What `encode` wrote, or None for anything else."""
    checksum, _, text = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        (g, m, n, k, dtype), times, (tile, order, partition, fallback) = json.loads(text)
        gemm = Gemm(g, m, n, k, dtype)
        if not _sane(times, tile, partition):
            return None
        latency_s, compute_s, memory_s, traffic = times
        cost = GemmCost(
            latency_s,
            compute_s,
            memory_s,
            traffic,
            gemm.flops,
            (tile[0], tile[1], tile[2]),
            str(order),
            (partition[0], partition[1], partition[2], partition[3]),
            bool(fallback),
        )
    except (ValueError, TypeError, RecursionError, SimulatorError):
        return None
    return gemm, cost


def _sane(times: list[Any], tile: list[Any], partition: list[Any]) -> bool:
    numbers = [*times, *tile, *partition]
    return (
        len(times) == 4
        and len(tile) == 3
        and len(partition) == 4
        and all(type(value) in {int, float} and 0 <= value < float("inf") for value in numbers)
        and times[0] > 0
    )
