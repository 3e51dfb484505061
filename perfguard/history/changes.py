"""Change points: where the level of a metric broke, per machine class, over the commit order of one branch.

The figures compared are the gate's (`perfguard.gate.basis`): fastest rounds at one speed of the machine where every run
has them, else medians. The scan itself is `perfguard.stats.steps`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from perfguard.document import EXACT_KINDS
from perfguard.history import reading, schema
from perfguard.history.model import ChangePoint
from perfguard.stats import steps
from perfguard.stats.change import SLOPE, SLOPE_SD

# Series read at once: a thousand runs of each are 80 MB.
BATCH = 2000
BEYOND = 1e9  # a ratio to zero: JSON has no infinity
Array = npt.NDArray[np.float64]

# What PostgreSQL sends for a row of the query below in COPY's binary format: fixed, since nothing is NULL.
_COLUMNS = {"series": ">i4", "run": ">i4", "median": ">f8", "fastest": ">f4", "reference": ">f4"}
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        *chain.from_iterable(((f"bytes of {name}", ">i4"), (name, form)) for name, form in _COLUMNS.items()),
    ]
)
_COPY_HEADER = 19
_COPY_TRAILER = 2
_NONE = -1.0


@dataclass(frozen=True)
class Figures:
    """The runs of some series: four columns, shape (n,) each; `fastest` and `reference` are below zero for none."""

    series: npt.NDArray[np.int64]
    run: npt.NDArray[np.int64]
    median: Array
    fastest: Array
    reference: Array


def find_changes(
    connection: Connection, series: Sequence[Any], runs: Sequence[Any], *, alpha: float, smallest: float
) -> Iterator[ChangePoint]:
    """The change points of `series` (rows of `reading.series_where`) over `runs` (rows in commit order)."""
    rank = np.full(max((row.id for row in runs), default=0) + 1, -1)
    for index, row in enumerate(runs):
        rank[row.id] = index
    by_id = {row.id: row for row in series}
    for batch in _batches(sorted(by_id)):
        figures = _figures(connection, batch[0], batch[-1])
        place = np.where(figures.run < rank.size, rank[np.minimum(figures.run, rank.size - 1)], -1)
        order = np.lexsort((place, figures.series))
        order = order[place[order] >= 0]
        ordered = figures.series[order]
        firsts = np.searchsorted(ordered, batch)
        lasts = np.searchsorted(ordered, batch, side="right")
        for number, first, last in zip(batch, firsts, lasts, strict=True):
            if last - first < steps.FEWEST:
                continue
            rows = order[first:last]
            yield from _of_series(by_id[number], figures, rows, [runs[at] for at in place[rows]], alpha, smallest)


def _batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """The numbers in runs that span less than BATCH: what lies between is read with them."""
    start = 0
    while start < len(numbers):
        stop = bisect_left(numbers, numbers[start] + BATCH, start)
        yield numbers[start:stop]
        start = stop


def most_certain(found: Iterable[ChangePoint], series: int, false_share: float) -> list[ChangePoint]:
    """Those of `found` that stay if at most `false_share` of them may be false, over `series` series.

    Benjamini and Hochberg 1995, JRSS B 57: the largest i such that the i-th smallest chance is at most
    `false_share` * i / `series`.
    """
    ranked = sorted(found, key=lambda change: 1 - change.confidence)
    allowed = [i for i, c in enumerate(ranked, start=1) if 1 - c.confidence <= false_share * i / max(1, series)]
    return ranked[: allowed[-1]] if allowed else []


def levels(kind: str, median: Array, fastest: Array, reference: Array) -> tuple[Array, float]:
    """What is scanned for steps, shape (n,), and what a difference of one means: 0 a log ratio, else a divisor.

    Times are taken as fastest rounds at one speed where each run has them: the reference's changes are subtracted as
    far as they predict the figure's, from differences of neighbours, which a step disturbs once.
    """
    if kind == "fraction":
        return median, 1.0
    if not (median > 0).all():
        scale = float(np.median(np.abs(median))) or float(np.abs(median).max()) or 1.0
        return median / scale, 1.0
    if not (fastest > 0).all():
        return np.log(median), 0.0
    y = np.log(fastest)
    if not (reference > 0).all():
        return y, 0.0
    z = np.log(reference)
    dy, dz = np.diff(y), np.diff(z)
    usual = float(np.median(np.abs(dy))) * 1.4826
    ridge = (usual / SLOPE_SD) ** 2 + 1e-18
    slope = float((dy * dz).sum() + ridge * SLOPE) / (float((dz**2).sum()) + ridge)
    return y - slope * (z - z.mean()), 0.0


def _of_series(
    series: Any, figures: Figures, rows: npt.NDArray[np.intp], runs: Sequence[Any], alpha: float, smallest: float
) -> Iterator[ChangePoint]:
    median = figures.median[rows]
    values, divisor = levels(series.kind, median, figures.fastest[rows], figures.reference[rows])
    # An exact figure has no noise to hide in: one more byte is a change.
    found = steps.find_steps(values, alpha=alpha, smallest=0.0 if series.kind in EXACT_KINDS else smallest)
    for index, step in enumerate(found):
        left = found[index - 1].at if index else 0
        right = found[index + 1].at if index + 1 < len(found) else len(runs)
        first, last = _commits(runs, step)
        low, size, high = (_ratio(x, divisor) for x in (step.low, step.size, step.high))
        yield ChangePoint(
            case=series.key,
            metric=series.metric,
            machine_class=series.machine_class,
            before=runs[first].sha,
            after=runs[last].sha,
            at_run=runs[step.at].run_id,
            magnitude=size,
            low=low,
            high=high,
            confidence=1 - step.chance,
            unit=series.unit,
            kind=series.kind,
            better=series.direction,
            suite=series.suite,
            case_id=series.node_id,
            branch=runs[step.at].branch,
            at_started=reading.iso(runs[step.at].started),
            level_before=float(np.median(median[left : step.at])),
            level_after=float(np.median(median[step.at : right])),
            runs_after=right - step.at,
        )


def _commits(runs: Sequence[Any], step: steps.Step) -> tuple[int, int]:
    """The points whose commits enclose the step: several runs of one commit cannot have a step between them."""
    first, last = step.first, step.last
    while first > 0 and runs[first].sha == runs[last].sha:
        first -= 1
    return first, last


def _ratio(size: float, divisor: float) -> float:
    return 1 + size / divisor if divisor else math.exp(min(size, math.log(BEYOND)))


def _figures(connection: Connection, first: int, last: int) -> Figures:
    """All runs of the series from `first` to `last`."""
    table = schema.process_run
    if connection.dialect.name == "postgresql":
        return _copied(connection, first, last)
    query = sa.select(
        table.c.series_id,
        table.c.run_id,
        table.c.median,
        sa.func.coalesce(table.c.fastest, _NONE),
        sa.func.coalesce(table.c.reference_s, _NONE),
    ).where(table.c.series_id.between(first, last))
    text = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    cursor = connection.connection.cursor()  # rows as plain tuples: ten million of them are read here
    try:
        flat = np.fromiter(chain.from_iterable(cursor.execute(text)), np.float64).reshape(-1, 5)
    finally:
        cursor.close()
    return Figures(flat[:, 0].astype(np.int64), flat[:, 1].astype(np.int64), flat[:, 2], flat[:, 3], flat[:, 4])


def _copied(connection: Connection, first: int, last: int) -> Figures:
    query = (
        f"COPY (SELECT series_id, run_id, median, coalesce(fastest, {_NONE})::real, "  # noqa: S608 - numbers only
        f"coalesce(reference_s, {_NONE})::real FROM process_run "
        f"WHERE series_id BETWEEN {int(first)} AND {int(last)}) TO STDOUT (FORMAT binary)"
    )
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(query) as copy:
        data = b"".join(copy)
    rows = np.frombuffer(data[_COPY_HEADER : len(data) - _COPY_TRAILER], _ROW)
    return Figures(
        rows["series"].astype(np.int64),
        rows["run"].astype(np.int64),
        rows["median"].astype(np.float64),
        rows["fastest"].astype(np.float64),
        rows["reference"].astype(np.float64),
    )
