"""The schema `perfguard.baseline/1`: what a baseline file must say, checked key by key.

A baseline decides whether a build passes, so reading is strict: a key that perfguard does not know is an
error (a misspelt `limit` would otherwise be ignored), and every error names file, line and key.
Newer layouts will announce themselves by another `schema`. Only `[machine]` is free: it is there for people.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from perfguard.baselines import locate
from perfguard.baselines.model import SCHEMA, UNACCOUNTED, BaselineMetric, ProcessRun, rfc3339
from perfguard.document import DIRECTIONS, KINDS, PORTABLE_KINDS, Direction, Kind
from perfguard.errors import BaselineError, PerfguardError
from perfguard.units import check_unit, parse_limit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_PROCESS_RUNS = 1000
MAX_TEXT = 2048
# Kinds of which less than nothing cannot be measured. A count may be a difference, so it may be negative.
NON_NEGATIVE = frozenset({"time", "throughput", "bytes"})

TOP_KEYS = ("schema", "suite", "machine_class", "machine")
METRIC_KEYS = ("direction", "gated", "kind", "limit", "process_runs", "unit")
RUN_KEYS = ("date", "commit", "n", "median", "ci", "fastest", "reference_s", "phases")

RESTORE = "restore the file from git, or remove it and write it anew with --perfguard-update"


@dataclass(frozen=True, slots=True)
class BaselineFile:
    """A baseline file as checked. `machine_class` is None in a portable file; keys are (case key, metric)."""

    suite: str
    machine_class: str | None
    machine: Mapping[str, Any]
    metrics: Mapping[tuple[str, str], BaselineMetric]


class _Wrong(Exception):  # noqa: N818 - private to this module: becomes a BaselineError once the line is known
    """A value that breaks the schema, by its path of keys and indices."""

    def __init__(self, path: locate.Path, problem: str, advice: str = "") -> None:
        self.path, self.problem, self.advice = path, problem, advice
        super().__init__(problem)


def decode(raw: bytes, source: str) -> str:
    """The text of a baseline file. Raises `BaselineError` if it is too long or not UTF-8, naming the line."""
    if len(raw) > MAX_FILE_BYTES:
        raise BaselineError(source, f"{len(raw)} bytes, the limit is {MAX_FILE_BYTES}", RESTORE)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BaselineError(f"{source}:{line}", f"not UTF-8: {error.reason} at byte {error.start}", RESTORE) from error


def parse(text: str, source: str) -> BaselineFile:
    """The checked content of a baseline file. Raises `BaselineError` naming `source:line: key`."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also integers of thousands of digits
        line = locate.line_of_syntax_error(text, str(error))
        raise BaselineError(f"{source}:{line}", f"not TOML: {error}", RESTORE) from error
    lines = _table_lines(text)
    try:
        return _file(data, lambda path: f"{source}:{lines.get(path, 1)}")
    except _Wrong as wrong:
        line = locate.line_of(text, wrong.path)
        raise BaselineError(f"{source}:{line}: {dotted(wrong.path)}", wrong.problem, wrong.advice) from wrong


def dotted(path: locate.Path) -> str:
    """A path as one would write it: `"case".time.process_runs[3].median`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part.replace("_", "").replace("-", "").isalnum() and part.isascii()
            text += ("." if text else "") + (part if bare else f'"{part}"')
    return text


def _table_lines(text: str) -> dict[locate.Path, int]:
    return {
        path: number
        for number, line in enumerate(text.splitlines(), start=1)
        if line.startswith("[") and (path := locate.header_path(line)) is not None
    }


def _file(data: Mapping[str, Any], where: Callable[[locate.Path], str]) -> BaselineFile:
    if data.get("schema") != SCHEMA:
        raise _Wrong(
            ("schema",),
            f"{data.get('schema')!r}, this perfguard reads {SCHEMA!r}",
            "another version of perfguard wrote it, or it is no baseline file",
        )
    machine_class = data.get("machine_class")
    if machine_class is not None:
        machine_class = _text((), "machine_class", machine_class)
    machine = data.get("machine", {})
    if not isinstance(machine, dict):
        raise _Wrong(("machine",), f"{_toml_type(machine)}, not a table")
    metrics: dict[tuple[str, str], BaselineMetric] = {}
    for case_key, tables in data.items():
        if case_key in TOP_KEYS:
            continue
        if not isinstance(tables, dict):
            raise _unknown((case_key,), TOP_KEYS)
        for name, table in tables.items():
            path = (case_key, name)
            metrics[path] = _metric(path, table, where(path), portable=machine_class is None)
    return BaselineFile(_text((), "suite", data.get("suite")), machine_class, machine, metrics)


def _check_home(path: locate.Path, kind: str, *, portable: bool) -> None:
    if (kind in PORTABLE_KINDS) != portable:
        place = "portable" if kind in PORTABLE_KINDS else "the folder of a machine class"
        raise _Wrong(
            (*path, "kind"),
            f"kind {kind!r} does not belong in this file",
            f"metrics of that kind are stored under {place}",
        )


def _metric(path: tuple[str, str], table: Any, source: str, *, portable: bool) -> BaselineMetric:
    if not isinstance(table, dict):
        raise _Wrong(path, f"{_toml_type(table)}, not a table of a metric")
    for key in table:
        if key not in METRIC_KEYS:
            raise _unknown((*path, key), METRIC_KEYS)
    kind = _one_of(path, "kind", table.get("kind"), KINDS)
    _check_home(path, kind, portable=portable)
    unit = table.get("unit")
    if not isinstance(unit, str):
        raise _missing_or_type((*path, "unit"), unit, "text")
    try:
        check_unit(kind, unit)
        limit = parse_limit(table["limit"]) if "limit" in table else None
    except PerfguardError as error:
        raise _Wrong((*path, error.culprit), error.problem, error.advice) from error
    gated = table.get("gated")
    if not isinstance(gated, bool):
        raise _missing_or_type((*path, "gated"), gated, "true or false")
    return BaselineMetric(
        name=path[1],
        unit=unit,
        direction=cast("Direction", _one_of(path, "direction", table.get("direction"), DIRECTIONS)),
        kind=cast("Kind", kind),
        gated=gated,
        process_runs=_process_runs((*path, "process_runs"), table.get("process_runs"), kind),
        source=source,
        limit=limit,
    )


def _process_runs(path: locate.Path, raw: Any, kind: str) -> tuple[ProcessRun, ...]:
    if not isinstance(raw, list):
        raise _missing_or_type(path, raw, "an array")
    if not raw:
        raise _Wrong(path, "empty", "remove the metric's table, or write it anew with --perfguard-update")
    if len(raw) > MAX_PROCESS_RUNS:
        raise _Wrong(path, f"{len(raw)} process runs, the limit is {MAX_PROCESS_RUNS}", "perfguard baseline prune")
    return tuple(_process_run((*path, index), run, kind) for index, run in enumerate(raw))


def _process_run(path: locate.Path, raw: Any, kind: str) -> ProcessRun:
    if not isinstance(raw, dict):
        raise _Wrong(path, f"{_toml_type(raw)}, not a table")
    for key in raw:
        if key not in RUN_KEYS:
            raise _unknown((*path, key), RUN_KEYS)
    n = raw.get("n")
    if not isinstance(n, int) or isinstance(n, bool):
        raise _missing_or_type((*path, "n"), n, "an integer")
    if n < 1:
        raise _Wrong((*path, "n"), f"{n} samples", "a process run has at least one")
    ci = raw.get("ci")
    if not isinstance(ci, list) or len(ci) != 2:
        raise _missing_or_type((*path, "ci"), ci, "an array of two numbers")
    low, high = (_figure((*path, "ci"), end, negative=kind not in NON_NEGATIVE) for end in ci)
    if low > high:
        raise _Wrong((*path, "ci"), f"the lower end {low} is above the upper end {high}")
    return ProcessRun(
        date=_date((*path, "date"), raw.get("date")),
        commit=_text(path, "commit", raw.get("commit"), empty=True),
        n=n,
        median=_figure((*path, "median"), raw.get("median"), negative=kind not in NON_NEGATIVE),
        ci=(low, high),
        phases=_phases((*path, "phases"), raw.get("phases", {}), kind),
        fastest=_positive_or_none(path, "fastest", raw),
        reference_s=_positive_or_none(path, "reference_s", raw),
    )


def _positive_or_none(path: locate.Path, key: str, raw: Mapping[str, Any]) -> float | None:
    if key not in raw:
        return None
    value = _figure((*path, key), raw[key], negative=False)
    if value == 0:
        raise _Wrong((*path, key), "the figure is zero", "remove it: it is optional")
    return value


def _phases(path: locate.Path, raw: Any, kind: str) -> Mapping[str, float]:
    if not isinstance(raw, dict):
        raise _missing_or_type(path, raw, "a table")
    if raw and kind != "time":
        raise _Wrong(path, f"a metric of kind {kind!r} has no phases", "only times are split into phases")
    # What no phase claims may come out negative where phases of two processes overlap; a phase may not.
    return {name: _figure((*path, name), value, negative=name == UNACCOUNTED) for name, value in raw.items()}


def _figure(path: locate.Path, value: Any, *, negative: bool) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _missing_or_type(path, value, "a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Wrong(path, f"the figure is {number}", "a baseline holds finite numbers only")
    if number < 0 and not negative:
        raise _Wrong(path, f"the figure is negative: {number}", "a time, a rate or a size is not below zero")
    return number


def _date(path: locate.Path, value: Any) -> str:
    if not isinstance(value, datetime):
        raise _missing_or_type(path, value, "a date with time and offset, such as 2026-01-31T12:00:00Z")
    if value.tzinfo is None:
        raise _Wrong(path, f"{value.isoformat()} has no offset", "write UTC with a Z: 2026-01-31T12:00:00Z")
    try:
        return rfc3339(value)
    except OverflowError as error:
        raise _Wrong(path, f"{value.isoformat()} is no date in UTC") from error


def _text(path: locate.Path, key: str, value: Any, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise _missing_or_type((*path, key), value, "text")
    if not value and not empty:
        raise _Wrong((*path, key), "empty")
    if len(value) > MAX_TEXT:
        raise _Wrong((*path, key), f"{len(value)} characters, the limit is {MAX_TEXT}")
    return value


def _one_of(path: locate.Path, key: str, value: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        problem = "missing" if value is None else f"{value!r}"
        raise _Wrong((*path, key), problem, f"one of {', '.join(allowed)}")
    return value


def _missing_or_type(path: locate.Path, value: Any, wanted: str) -> _Wrong:
    if value is None:
        return _Wrong(path, "missing", f"it must be {wanted}")
    return _Wrong(path, f"{_toml_type(value)}, not {wanted}")


def _unknown(path: tuple[str | int, ...], known: tuple[str, ...]) -> _Wrong:
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return _Wrong(path, "unknown key", f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}")


def _toml_type(value: Any) -> str:
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a float",
        str: "a string",
        list: "an array",
        dict: "a table",
    }
    return names.get(type(value), f"a {type(value).__name__}")
