"""Rounds gathered into one frame: what a producer does with events that come faster than anybody looks.

A round is one tuple on a list until the list is flushed; then the tuples become columns, each one run of
little-endian bytes, in a frame of version 2 (`rounds.py` reads it and says what lies where). numpy is not
needed here: a run that nobody watches does not import it. What does not fit into columns, such as a field that
the schema does not know, is an event of its own as before.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Hashable, Iterable, Mapping
from operator import itemgetter
from typing import Any, TypeAlias, TypeGuard

from perfguard.errors import EventError
from perfguard.events import schema

MOST_ROUNDS = 256
MOST_PHASE_BYTES = 32 * 1024  # of all rounds of a frame together, so that it stays small enough to be pushed
_MOST_KNOWN = 20_000
_LEAST, _MOST = -(2**63), 2**63 - 1

_NAMES = ("case", "metric", "index", "iterations", "value", "warmup", "phases")
_FIELDS = itemgetter(*_NAMES)

Paths: TypeAlias = "tuple[str, ...] | None"
# seq, t_ns, case, metric, index, iterations, value, warmup, paths, and their seconds as bytes
Row: TypeAlias = "tuple[int, int, str, str, int, int, float, bool, Paths, bytes]"


class Gatherer:
    """Rounds of one producer, waiting to become frames. Not thread-safe: `EventStream` calls it under its lock.

    `full`: whether they should be flushed, whatever the time.
    """

    def __init__(self, run_id: str, src: str) -> None:
        self.rows: list[Row] = []
        self.full = False
        self._phase_bytes = 0
        self._run_id = run_id
        self._src = src
        self._names: set[tuple[str, str]] = set()  # known to be text that can be packed
        self._packers: dict[tuple[str, ...], Callable[..., bytes]] = {}

    def add(self, seq: int, t_ns: int, fields: Mapping[str, Any]) -> bool:
        """Take a round in. False, and nothing taken, if it does not fit into columns as it is."""
        if len(fields) != len(_NAMES):
            return False
        try:
            case, metric, index, iterations, value, warmup, phases = _FIELDS(fields)
            if phases is None:
                paths, packed = None, b""
            else:
                paths = tuple(phases)
                packed = self._packers[paths](*phases.values())
            known = (case, metric) in self._names
        except (TypeError, AttributeError, struct.error, OverflowError):
            return False
        except KeyError:  # of a field that is missing, too: then there is nothing to learn
            known = False
        if not known:
            return self._learn(fields) and self.add(seq, t_ns, fields)
        if (
            type(value) is not float
            or type(index) is not int
            or type(iterations) is not int
            or type(warmup) is not bool
            or not (_LEAST <= index <= _MOST and _LEAST <= iterations <= _MOST)
        ):
            return False
        self.rows.append((seq, t_ns, case, metric, index, iterations, value, warmup, paths, packed))
        self._phase_bytes += len(packed)
        self.full = len(self.rows) >= MOST_ROUNDS or self._phase_bytes >= MOST_PHASE_BYTES
        return True

    def frames(self) -> list[tuple[bytes, int, int]]:
        """The frames of all that waits, each with its first number and how many it holds; `clear` when handed on."""
        found: list[tuple[bytes, int, int]] = []
        for rows in _without_gaps(self.rows):
            try:
                found.append((self._frame(rows) if len(rows) > 1 else self._single(rows[0]), rows[0][0], len(rows)))
            except EventError:  # names beyond a frame
                found += [(self._single(row), row[0], 1) for row in rows]
        return found

    def clear(self) -> None:
        """They have been handed on."""
        self.rows = []
        self._phase_bytes = 0
        self.full = False

    def _learn(self, fields: Mapping[str, Any]) -> bool:
        """Whether its names can be packed; then they are known from now on."""
        case, metric, phases = fields.get("case"), fields.get("metric"), fields.get("phases")
        if not _is_text(case) or not _is_text(metric) or not all(name in fields for name in _NAMES):
            return False
        if len(self._names) + len(self._packers) > _MOST_KNOWN:
            self._names.clear()
            self._packers.clear()
        self._names.add((case, metric))
        if phases is None:
            return True
        if type(phases) is not dict or not all(map(_is_text, phases)):
            return False
        self._packers[tuple(phases)] = struct.Struct(f"<{len(phases)}d").pack
        return True

    def _frame(self, rows: list[Row]) -> bytes:
        """One frame of version 2 of rounds that are numbered without gaps."""
        seqs, times, cases, metrics, index, iterations, value, warmup, paths, packed = zip(*rows, strict=True)
        series = _numbered(list(zip(cases, metrics, strict=True)))
        shapes = _numbered(list(paths))
        batch: dict[str, Any] = {
            "v": schema.BATCH_VERSION,
            "run": self._run_id,
            "src": self._src,
            "seq": seqs[0],
            "kind": schema.ROUNDS,
            "n": len(rows),
            "t_ns": _column("q", times),
            "series": list(series),
            "row": _numbers(series, zip(cases, metrics, strict=True)),
            "index": _column("q", index),
            "iterations": iterations[0] if len(set(iterations)) == 1 else _column("q", iterations),
            "value": _column("d", value),
            "warmup": warmup[0] if len(set(warmup)) == 1 else bytes(warmup),
            "paths": list(shapes),
            "shape": _numbers(shapes, paths),
            "phases": b"".join(packed),
        }
        return schema.pack(batch)

    def _single(self, row: Row) -> bytes:
        return schema.pack(event_of(self._run_id, self._src, row))


def event_of(run_id: str, src: str, row: Row) -> schema.Event:
    """The event that a row was."""
    seq, t_ns, case, metric, index, iterations, value, warmup, paths, packed = row
    figures = None if paths is None else dict(zip(paths, struct.unpack(f"<{len(paths)}d", packed), strict=True))
    envelope = {"v": schema.VERSION, "run": run_id, "src": src, "seq": seq, "t_ns": t_ns, "kind": "round"}
    fields = (case, metric, index, iterations, value, warmup, figures)
    return {**envelope, **dict(zip(_NAMES, fields, strict=True))}


def _without_gaps(rows: list[Row]) -> list[list[Row]]:
    """The rows in runs of consecutive numbers: an interrupt in the middle of an event leaves a gap."""
    if not rows or rows[-1][0] - rows[0][0] == len(rows) - 1:
        return [rows] if rows else []
    runs: list[list[Row]] = [[rows[0]]]
    for row in rows[1:]:
        if row[0] == runs[-1][-1][0] + 1:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string that a reader will take."""
    try:
        return type(value) is str and len(value.encode()) <= schema.MAX_STRING
    except UnicodeEncodeError:
        return False


def _numbered(values: Iterable[Hashable]) -> dict[Any, int]:
    """The distinct values, numbered in the order of coming."""
    return {value: number for number, value in enumerate(dict.fromkeys(values))}


def _numbers(numbered: Mapping[Any, int], values: Iterable[Hashable]) -> bytes | None:
    """The number of each value; None where there is only one to be."""
    return None if len(numbered) == 1 else _column("H", map(numbered.__getitem__, values))


def _column(code: str, values: Iterable[Any]) -> bytes:
    column = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()
