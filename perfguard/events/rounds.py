"""Many rounds in one frame: parallel columns, checked as a whole, and the very events that they stand for.

A frame of version 2 is the map

    {"v": 2, "run": str, "src": str, "seq": int, "kind": "rounds", "n": int, "t_ns": i8[n],
     "series": [[case, metric], ...], "row": null | u2[n], "index": i8[n], "iterations": int | i8[n],
     "value": f8[n], "warmup": bool | u1[n],
     "paths": [null | [path, ...], ...], "shape": null | u2[n], "phases": f8[...]}

whose arrays are little-endian bytes. Row `i` is the `round` event of number `seq + i`: of series `row[i]`, with
the phases `paths[shape[i]]`, whose seconds stand one behind the other in `phases`, row by row. `null` for `row` or
`shape` means that all are of the first; one number or flag stands for a whole column. Times do not go back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from perfguard.errors import EventError
from perfguard.events.schema import (
    BATCH_VERSION,
    MAX_FRAME_BYTES,
    ROUNDS,
    VERSION,
    Event,
    unpack,
    unpacked,
    unpacker,
)

Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

MAX_ROUNDS = 4096
# Whole columns of one thing, of which a frame takes as many as it has rows.
_RANGE = np.arange(MAX_ROUNDS)
_ZEROS = np.zeros(MAX_ROUNDS, dtype=np.int64)
_FLAGS = {flag: np.full(MAX_ROUNDS, flag) for flag in (False, True)}
for _shared in (_RANGE, _ZEROS, *_FLAGS.values()):
    _shared.flags.writeable = False
# What every frame of columns begins with: a map, whose first key is the version.
_MARK = b"\xa1v" + bytes([BATCH_VERSION])
_unpack_rounds = unpacker(max_map_len=64, max_bin_len=MAX_FRAME_BYTES)


@dataclass(frozen=True, slots=True, eq=False)
class Rounds:
    """`round` events of one producer, `n` of them; all arrays but `phases` are of that length and not to be changed.

    `seqs`: their numbers, one after the other in a frame, with holes where rows were `chosen`. `begins`: where in
    `phases` the seconds of a row begin. `size_bytes`: of the frames that they came in, which they keep alive.
    """

    run: str
    src: str
    seqs: Integers
    t_ns: Integers
    series: tuple[tuple[str, str], ...]
    row: Integers
    index: Integers
    iterations: Integers
    value: Floats
    warmup: NDArray[np.bool_]
    paths: tuple[tuple[str, ...] | None, ...]
    shape: Integers
    phases: Floats
    begins: Integers
    size_bytes: int

    def __len__(self) -> int:
        return len(self.t_ns)

    @property
    def seq(self) -> int:
        """The number of its first event."""
        return int(self.seqs[0])

    @property
    def end(self) -> int:
        """The number after its last event's."""
        return int(self.seqs[-1]) + 1

    @property
    def has_phases(self) -> bool:
        """Whether any of them may have phases."""
        return len(self.phases) > 0

    def part(self, start: int, stop: int) -> Rounds:
        """Rows `start` to `stop`."""
        return self if start == 0 and stop == len(self) else self._at(slice(start, stop))

    def chosen(self, mask: NDArray[np.bool_]) -> Rounds:
        """The rows where `mask` is true."""
        return self if mask.all() else self._at(mask)

    def _at(self, rows: slice | NDArray[np.bool_]) -> Rounds:
        return Rounds(
            self.run,
            self.src,
            self.seqs[rows],
            self.t_ns[rows],
            self.series,
            self.row[rows],
            self.index[rows],
            self.iterations[rows],
            self.value[rows],
            self.warmup[rows],
            self.paths,
            self.shape[rows],
            self.phases,
            self.begins[rows],
            self.size_bytes,
        )

    def of_case(self, case_id: str) -> NDArray[np.bool_]:
        """Which rows are that case's."""
        return np.array([case == case_id for case, _ in self.series])[self.row]

    def phases_of(self, at: int) -> dict[str, float] | None:
        """The phases of row `at`, in seconds per call."""
        paths = self.paths[self.shape[at]]
        if paths is None:
            return None
        begin = int(self.begins[at])
        return dict(zip(paths, self.phases[begin : begin + len(paths)].tolist(), strict=True))

    def event(self, at: int) -> Event:
        """The event that row `at` stands for."""
        case, metric = self.series[self.row[at]]
        return {
            "v": VERSION,
            "run": self.run,
            "src": self.src,
            "seq": int(self.seqs[at]),
            "t_ns": int(self.t_ns[at]),
            "kind": "round",
            "case": case,
            "metric": metric,
            "index": int(self.index[at]),
            "iterations": int(self.iterations[at]),
            "value": float(self.value[at]),
            "warmup": bool(self.warmup[at]),
            "phases": self.phases_of(at),
        }

    def __iter__(self) -> Iterator[Event]:
        """The events, one by one."""
        return map(self.event, range(len(self)))


Item: TypeAlias = "Event | Rounds"


def events_in(items: Iterable[Item]) -> Iterator[Event]:
    """Single events, whether they came alone or together."""
    for item in items:
        if isinstance(item, Rounds):
            yield from item
        else:
            yield item


def joined(items: Iterable[Item], most: int) -> Iterator[Item]:
    """The same events, with frames of the same series that follow each other made one, of up to `most` rounds."""
    waiting: list[Rounds] = []
    rows = 0
    for item in items:
        if waiting and not (isinstance(item, Rounds) and rows + len(item) <= most and _follows(item, waiting[-1])):
            yield _joined(waiting)
            waiting, rows = [], 0
        if isinstance(item, Rounds):
            waiting.append(item)
            rows += len(item)
        else:
            yield item
    if waiting:
        yield _joined(waiting)


def _follows(item: Rounds, before: Rounds) -> bool:
    same = item.series == before.series and item.paths == before.paths
    return same and item.t_ns[0] >= before.t_ns[-1] and producer_of(item) == producer_of(before)


def _joined(parts: list[Rounds]) -> Rounds:
    first = parts[0]
    if len(parts) == 1:
        return first
    shifts = np.cumsum([0, *(len(part.phases) for part in parts[:-1])]).tolist()
    return Rounds(
        first.run,
        first.src,
        np.concatenate([part.seqs for part in parts]),
        np.concatenate([part.t_ns for part in parts]),
        first.series,
        np.concatenate([part.row for part in parts]),
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.iterations for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.warmup for part in parts]),
        first.paths,
        np.concatenate([part.shape for part in parts]),
        np.concatenate([part.phases for part in parts]),
        np.concatenate([part.begins + shift for part, shift in zip(parts, shifts, strict=True)]),
        sum(part.size_bytes for part in parts),
    )


def numbers_of(item: Item) -> tuple[int, int]:
    """The first number of what a frame held, and the one after its last."""
    return (item.seq, item.end) if isinstance(item, Rounds) else (item["seq"], item["seq"] + 1)


def producer_of(item: Item) -> tuple[str, str]:
    """Which run it is of, and which of its producers."""
    return (item.run, item.src) if isinstance(item, Rounds) else (item["run"], item["src"])


def decode(frame: bytes) -> Item:
    """What a frame holds, validated and bounded. Raises `EventError` saying what is wrong."""
    if frame[1:4] != _MARK and frame[3:6] != _MARK:
        return unpack(frame)
    return _rounds(unpacked(frame, _unpack_rounds), len(frame))


def _rounds(raw: Mapping[str, Any], size_bytes: int) -> Rounds:
    seq, n = raw.get("seq"), raw.get("n")
    run, src = raw.get("run"), raw.get("src")
    if raw.get("v") != BATCH_VERSION or raw.get("kind") != ROUNDS or not (type(run) is str and type(src) is str):
        raise EventError("frame", "columns of something else than rounds")
    if type(n) is not int or not 1 <= n <= MAX_ROUNDS:
        raise EventError("rounds frame", f"{n!r} rounds, the limit is {MAX_ROUNDS}")
    if type(seq) is not int or not 0 <= seq < 2**53:
        raise EventError("rounds frame", f"seq {seq!r}")
    paths = tuple(None if one is None else _texts(one, "paths") for one in _list(raw, "paths", n))
    shape = _numbers(raw, "shape", n, len(paths))
    begins, phases = _begins(paths, shape)
    series = _pairs(raw, n)
    t_ns = _column(raw, "t_ns", "<i8", n)
    if n > 1 and (t_ns[1:] < t_ns[:-1]).any():
        raise EventError("rounds frame", "times that go back")
    return Rounds(
        run,
        src,
        _RANGE[:n] + seq,
        t_ns,
        series,
        _numbers(raw, "row", n, len(series)),
        _column(raw, "index", "<i8", n),
        _counts(raw, n),
        _column(raw, "value", "<f8", n),
        _flags(raw, n),
        paths,
        shape,
        _column(raw, "phases", "<f8", phases),
        begins,
        size_bytes,
    )


def _list(raw: Mapping[str, Any], name: str, most: int) -> list[Any]:
    """A list with something in it, at most as long as there are rows."""
    value = raw.get(name)
    if type(value) is not list or not 1 <= len(value) <= most:
        raise EventError("rounds frame", f"field {name!r} is no list of 1 to {most}")
    return value


def _pairs(raw: Mapping[str, Any], n: int) -> tuple[tuple[str, str], ...]:
    pairs = _list(raw, "series", n)
    if set(map(type, pairs)) != {list} or set(map(len, pairs)) != {2}:
        raise EventError("rounds frame", "a series that is not a case and a metric")
    if set(map(type, chain.from_iterable(pairs))) != {str}:
        raise EventError("rounds frame", "a series whose names are no text")
    return tuple(map(tuple, pairs))


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if type(value) is not list or set(map(type, value)) - {str}:
        raise EventError("rounds frame", f"field {name!r} holds something else than lists of text")
    return tuple(value)


def _column(raw: Mapping[str, Any], name: str, dtype: str, n: int) -> NDArray[Any]:
    value = raw.get(name)
    if type(value) is not bytes or len(value) != n * int(dtype[-1]):
        raise EventError("rounds frame", f"column {name!r} is not of {n} numbers")
    column = np.frombuffer(value, dtype)
    return column if column.dtype.isnative else column.astype(dtype.replace("<", "="))


def _begins(paths: tuple[tuple[str, ...] | None, ...], shape: Integers) -> tuple[Integers, int]:
    """Where the seconds of each row begin, and how many there are of all."""
    n = len(shape)
    if len(paths) == 1:
        each = len(paths[0] or ())
        return _RANGE[:n] * each, n * each
    lengths = np.array([len(one or ()) for one in paths])[shape]
    ends = np.cumsum(lengths)
    return ends - lengths, int(ends[-1])


def _numbers(raw: Mapping[str, Any], name: str, n: int, below: int) -> Integers:
    """A column of numbers of things of which there are `below`; nothing said: all are the first."""
    if raw.get(name) is None:
        return _ZEROS[:n]
    numbers = _column(raw, name, "<u2", n).astype(np.int64)
    if int(numbers.max()) >= below:
        raise EventError("rounds frame", f"column {name!r} points beyond its {below}")
    return numbers


def _counts(raw: Mapping[str, Any], n: int) -> Integers:
    value = raw.get("iterations")
    if type(value) is not int:
        return _column(raw, "iterations", "<i8", n)
    if not -(2**63) <= value < 2**63:
        raise EventError("rounds frame", "field 'iterations' is beyond 64 bits")
    return _ZEROS[:n] + value


def _flags(raw: Mapping[str, Any], n: int) -> NDArray[np.bool_]:
    value = raw.get("warmup")
    if type(value) is bool:
        return _FLAGS[value][:n]
    flags = _column(raw, "warmup", "<u1", n)
    if int(flags.max()) > 1:
        raise EventError("rounds frame", "column 'warmup' holds something else than 0 and 1")
    return flags.astype(np.bool_)
