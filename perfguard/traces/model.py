"""What a trace says, whatever profiler wrote it: device activities, host ranges and launches, as columns of arrays.

All times are int64 nanoseconds on the trace's own clock. Names are interned: a column holds indices into `names`.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from perfguard.errors import TraceError

Ints: TypeAlias = npt.NDArray[np.int64]

COMPUTE, COMMUNICATION, H2D, D2H, D2D, PEER, COPY, MEMSET = range(8)
KIND_NAMES = ("compute", "communication", "copy h2d", "copy d2h", "copy d2d", "copy peer", "copy other", "memset")
COPIES = (H2D, D2H, D2D, PEER, COPY)
NO_CORRELATION = -1

# What the memory of a reader is bounded by, beside the file's own size: a hostile file has a name per event.
MAX_NAMES = 2_000_000
MAX_NAME_CHARS = 4096
MAX_TOTAL_CHARS = 256 * 1024 * 1024
MAX_ROWS = 50_000_000

# Collectives of NCCL, RCCL (same names), NVSHMEM, MSCCL++, and the custom all-reduce kernels of serving engines.
_COMMUNICATION = re.compile(
    r"nccl|nvshmem|msccl|cross_device_reduce|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all", re.IGNORECASE
)


def kernel_kind(name: str) -> int:
    """COMMUNICATION if the kernel moves data between devices, by its name; else COMPUTE."""
    return COMMUNICATION if _COMMUNICATION.search(name) else COMPUTE


@dataclass(frozen=True)
class Activities:
    """What devices did: one row each. `kind` is an index into KIND_NAMES; `launch` a key shared with `Launches`."""

    start_ns: Ints
    end_ns: Ints
    name: Ints
    kind: Ints
    device: Ints
    stream: Ints
    launch: Ints

    def __len__(self) -> int:
        return len(self.start_ns)

    def where(self, mask: npt.NDArray[Any]) -> Activities:
        """The rows that `mask` (booleans or indices) selects."""
        return Activities(*(getattr(self, column)[mask] for column in self.__dataclass_fields__))

    def intervals(self, mask: npt.NDArray[np.bool_] | None = None) -> Ints:
        """Start and end of the rows, (n, 2)."""
        both = np.column_stack((self.start_ns, self.end_ns))
        return both if mask is None else both[mask]


@dataclass(frozen=True)
class Ranges:
    """What the program named: NVTX ranges or user annotations, one row per instance, on host thread `thread`."""

    start_ns: Ints
    end_ns: Ints
    name: Ints
    thread: Ints

    def __len__(self) -> int:
        return len(self.start_ns)


@dataclass(frozen=True)
class Launches:
    """Host calls that started device activities: the host's `start_ns`, its thread, and the key `launch`."""

    start_ns: Ints
    thread: Ints
    launch: Ints


@dataclass(frozen=True)
class Trace:
    """One file, read. `devices` maps device numbers to names as far as known; `notes` is what was odd about it."""

    source: str
    format: str
    names: tuple[str, ...]
    activities: Activities
    ranges: Ranges
    launches: Launches
    devices: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Table:
    """Rows of integers that grow cheaply: 8 bytes a cell while reading, arrays when done."""

    def __init__(self, width: int, source: str) -> None:
        self.width = width
        self._cells = array("q")
        self._source = source

    def add(self, row: tuple[int, ...]) -> None:
        """Append one row. Raises `TraceError` on a value beyond 64 bits, and on too many rows."""
        try:
            self._cells.extend(row)
        except OverflowError as error:
            raise TraceError(self._source, f"holds a number beyond 64 bits: {max(row, key=abs)}") from error
        if len(self._cells) > MAX_ROWS * self.width:
            raise TraceError(self._source, f"holds more than {MAX_ROWS} rows", "record fewer steps")

    def columns(self) -> tuple[Ints, ...]:
        """The columns, as int64 arrays."""
        rows = np.frombuffer(self._cells, np.int64).reshape(-1, self.width)
        return tuple(np.ascontiguousarray(rows[:, column]) for column in range(self.width))


class Names:
    """Names by number."""

    def __init__(self, source: str) -> None:
        self._numbers: dict[str, int] = {}
        self._chars = 0
        self._source = source

    def number(self, name: object) -> int:
        """The number of `name`, cut to a bounded length."""
        text = str(name)[:MAX_NAME_CHARS]
        found = self._numbers.get(text)
        if found is None:
            self._chars += len(text)
            if len(self._numbers) >= MAX_NAMES or self._chars > MAX_TOTAL_CHARS:
                raise TraceError(self._source, "holds too many different names", "record fewer steps")
            found = self._numbers[text] = len(self._numbers)
        return found

    def all(self) -> tuple[str, ...]:
        """All names, each at its number."""
        return tuple(self._numbers)


class Backwards:
    """Counts intervals that end before they start, for one note instead of a figure that is wrong."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, name: object) -> None:
        """Leave out one interval."""
        self.first = self.first or str(name)[:60]
        self.count += 1

    def notes(self) -> list[str]:
        """The note, if there is anything to say."""
        if not self.count:
            return []
        return [f"{self.count} events with a negative duration are left out, the first is {self.first!r}"]
