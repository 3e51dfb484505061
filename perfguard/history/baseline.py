"""Baselines drawn from history: `history:BRANCH@last-N`, as if the last runs of a branch had been accepted.

The rules are those of stored baselines: absolute figures of this machine class only, portable ones of any; each run is
one process run. Duets and runs of changed files are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from perfguard.baselines.model import UNACCOUNTED, BaselineMetric, Baselines, MetricKey, ProcessRun, rfc3339
from perfguard.document import PORTABLE_KINDS
from perfguard.history import reading, schema
from perfguard.history.ranges import HistoryRange

_SHORT_ID = 10


def baselines(connection: Connection, wanted: HistoryRange, machine_class: str) -> Baselines:
    """The baselines in the last runs of a branch: those of `machine_class`, and portable figures of all classes."""
    branch = wanted.branch or reading.main_line(connection)
    rows = reading.runs(connection, reading.clean(reading.runs_where(branch, None)))
    by_class: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_class[row.machine_class].append(row)
    here = by_class.get(machine_class, [])[-wanted.last :]
    anywhere = rows[-wanted.last :]
    source = str(HistoryRange(branch, wanted.last))
    metrics: dict[MetricKey, BaselineMetric] = {}
    for runs, portable in ((here, False), (anywhere, True)):
        metrics |= _metrics(connection, runs, source, portable=portable)
    others = tuple(sorted(set(by_class) - {machine_class}))
    return Baselines(source, machine_class, metrics, others)


def _metrics(
    connection: Connection, runs: Sequence[Any], source: str, *, portable: bool
) -> dict[MetricKey, BaselineMetric]:
    """The portable or the absolute metrics of these runs, in commit order."""
    if not runs:
        return {}
    place = {row.id: index for index, row in enumerate(runs)}
    table, series = schema.process_run, schema.series
    classes = sorted({row.machine_class for row in runs})
    kinds = sorted(PORTABLE_KINDS)
    query = (
        sa.select(table, series, schema.test_case.c.suite, schema.test_case.c.key)
        .select_from(
            series.join(table, table.c.series_id == series.c.id).join(
                schema.test_case, series.c.case_id == schema.test_case.c.id
            )
        )
        .where(
            series.c.machine_class.in_(classes),
            series.c.kind.in_(kinds) if portable else series.c.kind.not_in(kinds),
            table.c.run_id.in_(sorted(place)),
        )
    )
    phases = {} if portable else _phases(connection, sorted(place))
    found: dict[MetricKey, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.suite, row.key, row.metric].append(row)
    metrics = {}
    for key, rows in found.items():
        rows.sort(key=lambda row: place[row.run_id])
        newest = rows[-1]
        alike = [r for r in rows if (r.unit, r.direction, r.kind) == (newest.unit, newest.direction, newest.kind)]
        metrics[key] = BaselineMetric(
            name=newest.metric,
            unit=newest.unit,
            direction=newest.direction,
            kind=newest.kind,
            gated=bool(newest.gated),
            process_runs=tuple(_process_run(row, runs[place[row.run_id]], phases) for row in alike),
            source=source,
        )
    return metrics


def _process_run(row: Any, run: Any, phases: Mapping[tuple[int, int], Mapping[str, float]]) -> ProcessRun:
    return ProcessRun(
        date=rfc3339(run.started.replace(microsecond=0)),
        commit=run.sha[:_SHORT_ID],
        n=row.n,
        median=row.median,
        ci=(row.median if row.low is None else row.low, row.median if row.high is None else row.high),
        phases=phases.get((row.case_id, row.run_id), {}) if row.metric == "time" else {},
        fastest=row.fastest,
        reference_s=row.reference_s,
    )


def _phases(connection: Connection, numbers: Sequence[int]) -> dict[tuple[int, int], dict[str, float]]:
    """Median self seconds by path, of each case and run."""
    found: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
    times, case_run = schema.phase_time, schema.case_run
    query = (
        sa.select(times.c.case_id, times.c.run_id, times.c.median_s, schema.phase.c.path)
        .select_from(times.join(schema.phase, times.c.phase_id == schema.phase.c.id))
        .where(times.c.run_id.in_(numbers))
    )
    for row in connection.execute(query):
        found[row.case_id, row.run_id][row.path] = row.median_s
    rest = sa.select(case_run.c.case_id, case_run.c.run_id, case_run.c.unaccounted_median_s).where(
        case_run.c.run_id.in_(numbers), case_run.c.unaccounted_median_s.is_not(None)
    )
    for case_id, run_id, unaccounted_s in connection.execute(rest):
        found[case_id, run_id][UNACCOUNTED] = unaccounted_s
    return dict(found)
