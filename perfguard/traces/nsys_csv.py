"""The CSV of `nsys stats`: `nvtx_sum`, `cuda_gpu_kern_sum`, `cuda_gpu_mem_time_sum`, alone or one after another.

Such files hold totals, no times: tables come out of them, and bounds of an overlap, never a single figure of it.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from perfguard.errors import TraceError
from perfguard.spans.overlapping import OverlapBounds, overlap_bounds

FORMAT = "nsys-csv"
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_ROWS = 200_000
ADVICE = "write it with: nsys stats --report nvtx_sum,cuda_gpu_kern_sum --format csv REPORT.nsys-rep"
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "usec": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}
_UNIT = re.compile(r"\(([^)%]+)\)")
# What the last column is called says which report it is.
_REPORTS = {"range": "ranges", "name": "kernels", "operation": "copies"}


@dataclass(frozen=True, slots=True)
class Total:
    """One row: a name's instances and their times in seconds. `stdev_s` is NaN in reports without it."""

    name: str
    count: int
    total_s: float
    mean_s: float
    min_s: float
    max_s: float
    stdev_s: float


@dataclass(frozen=True, slots=True)
class Totals:
    """All reports of one or several files, rows as they stood."""

    source: str
    ranges: tuple[Total, ...]
    kernels: tuple[Total, ...]
    copies: tuple[Total, ...]


def looks_like(head: str) -> bool:
    """Whether a file that begins so holds such a report."""
    return any(_report_of(row) for row in csv.reader(head.splitlines()))


def read(paths: Sequence[Path]) -> Totals:
    """The reports in `paths` together. Raises `TraceError` naming file and line."""
    found: dict[str, list[Total]] = {"ranges": [], "kernels": [], "copies": []}
    for path in paths:
        report, before = "", sum(map(len, found.values()))
        columns: dict[str, tuple[int, float]] = {}
        for line, row in _rows(path):
            if header := _report_of(row):
                report, columns = header, _columns(row)
            elif report and len(row) > 4:
                found[report].append(_total(path, line, row, columns))
            elif not row:
                report = ""
        if sum(map(len, found.values())) == before:
            raise TraceError(str(path), "holds no report of nsys stats", ADVICE)
    source = ", ".join(str(path) for path in paths)
    return Totals(source, tuple(found["ranges"]), tuple(found["kernels"]), tuple(found["copies"]))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TraceError(str(path), f"is larger than {MAX_FILE_BYTES} bytes", ADVICE)
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if reader.line_num > MAX_ROWS:
                    raise TraceError(str(path), f"holds more than {MAX_ROWS} lines", ADVICE)
                yield reader.line_num, row
    except OSError as error:
        raise TraceError(str(path), f"cannot be read: {error.strerror or error}", ADVICE) from error
    except csv.Error as error:
        raise TraceError(str(path), f"is no CSV: {error}", ADVICE) from error


def _report_of(row: Sequence[str]) -> str:
    if len(row) < 5 or not any(cell.strip().lower().startswith("total time") for cell in row):
        return ""
    return _REPORTS.get(row[-1].strip().lower(), "")


def _columns(header: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Where each figure stands, and what makes seconds of it."""
    found: dict[str, tuple[int, float]] = {}
    for place, cell in enumerate(header):
        word = cell.strip().lower()
        unit = _UNIT.search(word)
        scale = _UNITS.get(unit[1].strip(), 1e-9) if unit else 1e-9
        for start, key in _WORDS:
            if word.startswith(start):
                found.setdefault(key, (place, scale))
    return found


_WORDS = (
    ("total time", "total"),
    ("instances", "count"),
    ("count", "count"),
    ("operations", "count"),
    ("avg", "mean"),
    ("average", "mean"),
    ("min", "min"),
    ("max", "max"),
    ("stddev", "stdev"),
)


def _total(path: Path, line: int, row: Sequence[str], columns: dict[str, tuple[int, float]]) -> Total:
    def figure(key: str) -> float:
        place, scale = columns[key]
        value = float(row[place].replace(",", "")) * (1 if key == "count" else scale)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{key} is {row[place]!r}")
        return value

    try:
        count, total = int(figure("count")), figure("total")
        return Total(
            name=row[-1].strip().removeprefix(":"),
            count=count,
            total_s=total,
            mean_s=figure("mean") if "mean" in columns else total / max(count, 1),
            min_s=figure("min") if "min" in columns else math.nan,
            max_s=figure("max") if "max" in columns else math.nan,
            stdev_s=figure("stdev") if "stdev" in columns else math.nan,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise TraceError(f"{path}:{line}", f"a figure is missing or wrong: {error}", ADVICE) from error


def by_layer(rows: Sequence[Total], pattern: re.Pattern[str]) -> list[tuple[str, int, Total]]:
    """The rows whose name holds a layer's number: the name with `*` for it, the number, the row; sorted by both."""
    found = []
    for row in rows:
        match = pattern.search(row.name)
        if match and match[1] and match[1].isascii() and match[1].isdigit() and len(match[1]) < 10:
            found.append((f"{row.name[: match.start(1)]}*{row.name[match.end(1) :]}", int(match[1]), row))
    return sorted(found, key=lambda one: one[:2])


def bounds(totals: Totals, within: str, lanes: Mapping[str, str]) -> OverlapBounds:
    """What the totals say of the overlap of copies and compute in the range called `within`, whose total is the wall.

    Copies are the rows that `lanes["copy"]` matches, or else the copies' report; compute likewise, or else the kernels.
    Raises `TraceError` without such a range, `MeasurementError` if a total does not fit into it.
    """
    scope = [row for row in totals.ranges if row.name == within]
    if not scope:
        known = ", ".join(row.name for row in totals.ranges[:5]) or "none"
        raise TraceError(totals.source, f"has no range {within!r} (it has {known})", "name one with --within")
    everything = (*totals.ranges, *totals.kernels, *totals.copies)
    sums = {
        lane: sum(
            row.total_s
            for row in (everything if lane in lanes else default)
            if lane not in lanes or fnmatchcase(row.name, lanes[lane])
        )
        for lane, default in (("copy", totals.copies), ("compute", totals.kernels))
    }
    return overlap_bounds(copy_s=sums["copy"], compute_s=sums["compute"], wall_s=sum(row.total_s for row in scope))
