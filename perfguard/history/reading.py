"""Runs, series and trends out of the database, in the caller's transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from perfguard.document import VERDICTS
from perfguard.history import schema
from perfguard.history.model import Series, StoredRun, Trend, TrendPoint
from perfguard.history.order import Place, in_commit_order

ANY = "*"
MAIN_LINES = ("main", "master", "trunk")

_run, _revision, _environment = schema.run, schema.revision, schema.environment
_series, _case, _figure = schema.series, schema.test_case, schema.process_run
_PLACE = (_revision.c.sha, _revision.c.position, _revision.c.committed, _run.c.started)


def main_line(connection: Connection) -> str:
    """The branch that trends follow unless told otherwise: main, master or trunk, else the one with most runs."""
    count = sa.func.count()
    query = sa.select(_run.c.branch, count).group_by(_run.c.branch).order_by(count.desc(), _run.c.branch)
    found = [row.branch for row in connection.execute(query)]
    return next((name for name in MAIN_LINES if name in found), found[0] if found else "")


def runs_where(branch: str, machine_class: str | None, commit: str | None = None) -> sa.Select[Any]:
    """The runs of a branch (ANY: of all), on a machine class if one is given, of commits that begin with `commit`."""
    joined = _run.join(_revision, _run.c.revision_id == _revision.c.id).join(
        _environment, _run.c.environment_id == _environment.c.id
    )
    query = sa.select(_run, *_PLACE[:3], _environment.c.machine_class).select_from(joined)
    if branch != ANY:
        query = query.where(_run.c.branch == branch)
    if machine_class is not None:
        query = query.where(_environment.c.machine_class == machine_class)
    if commit is not None:
        query = query.where(_revision.c.sha.startswith(commit, autoescape=True))
    return query


def clean(query: sa.Select[Any]) -> sa.Select[Any]:
    """Of `runs_where` those whose figures are plain process runs of their commit: no duets, no changed files."""
    return query.where(_run.c.mode == "plain", sa.not_(_run.c.dirty))


def runs(connection: Connection, query: sa.Select[Any], last: int | None = None) -> tuple[Any, ...]:
    """The rows of `runs_where` in commit order, the `last` ones only if given."""
    rows = in_commit_order(connection.execute(query).all(), place_of)
    return tuple(rows if last is None else rows[-last:])


def place_of(row: Any) -> Place:
    """What orders a row that has `_PLACE`."""
    return Place(row.position, row.committed, row.started)


def stored_run(row: Any) -> StoredRun:
    """A row of `runs_where` as the model has it."""
    return StoredRun(
        id=row.run_id,
        started=iso(row.started),
        commit=row.sha,
        branch=row.branch,
        position=row.position,
        machine_class=row.machine_class,
        profile=row.profile,
        verdicts=dict(row.verdicts),
        cases=row.cases,
        dirty=bool(row.dirty),
        mode=row.mode,
        exit_status=row.exit_status,
    )


def series_where(
    *, case: str | None = None, metric: str | None = None, machine_class: str | None = None, gated: bool = False
) -> sa.Select[Any]:
    """The series of a case (by key or node id), a metric, a machine class; each may be left open."""
    joined = _series.join(_case, _series.c.case_id == _case.c.id)
    query = sa.select(_series, _case.c.suite, _case.c.key, _case.c.node_id).select_from(joined)
    if case is not None:
        query = query.where(sa.or_(_case.c.key == case, _case.c.node_id == case))
    if metric is not None:
        query = query.where(_series.c.metric == metric)
    if machine_class is not None:
        query = query.where(_series.c.machine_class == machine_class)
    if gated:
        query = query.where(_series.c.gated)
    return query.order_by(_case.c.suite, _case.c.key, _series.c.metric, _series.c.machine_class, _series.c.id)


def described(row: Any) -> Series:
    """A row of `series_where` as the model has it."""
    return Series(row.suite, row.key, row.node_id, row.metric, row.machine_class, row.unit, row.kind, bool(row.gated))


def samples(connection: Connection, case: str, metric: str, run_id: str) -> bytes | None:
    """The packed samples of a metric of a case in a run, None if there are none."""
    table = schema.samples
    joined = table.join(_series, table.c.series_id == _series.c.id).join(_case, _series.c.case_id == _case.c.id)
    query = (
        sa.select(table.c.packed)
        .select_from(joined.join(_run, table.c.run_id == _run.c.id))
        .where(
            sa.or_(_case.c.key == case, _case.c.node_id == case), _series.c.metric == metric, _run.c.run_id == run_id
        )
    )
    found = connection.execute(query).scalars().first()
    return None if found is None else bytes(found)


def latest(connection: Connection, series: Sequence[Any]) -> Any | None:
    """Of several series of one metric (machine classes, a changed unit) the one measured last; None of none."""
    if len(series) <= 1:
        return series[0] if series else None
    newest = {
        row.id: connection.execute(
            sa.select(sa.func.max(_figure.c.run_id)).where(_figure.c.series_id == row.id)
        ).scalar()
        or 0
        for row in series
    }
    return max(series, key=lambda row: newest[row.id])


def trend(connection: Connection, series: Any, branch: str, last: int | None, *, dirty: bool = False) -> Trend:
    """The points of a series: plain runs of a branch (ANY: of all), of commits without changes unless `dirty`."""
    joined = _figure.join(_run, _figure.c.run_id == _run.c.id).join(_revision, _run.c.revision_id == _revision.c.id)
    figures = [column for column in _figure.c if column.name != "run_id"]
    query = (
        sa.select(*figures, _run.c.run_id, *_PLACE)
        .select_from(joined)
        .where(_figure.c.series_id == series.id, _run.c.mode == "plain")
    )
    if branch != ANY:
        query = query.where(_run.c.branch == branch)
    if not dirty:
        query = query.where(sa.not_(_run.c.dirty))
    rows = in_commit_order(connection.execute(query).all(), place_of)
    points = tuple(_point(row) for row in (rows if last is None else rows[-last:]))
    return Trend(
        case=series.key,
        metric=series.metric,
        unit=series.unit,
        better=series.direction,
        machine_class=series.machine_class,
        points=points,
        kind=series.kind,
        suite=series.suite,
        case_id=series.node_id,
    )


def _point(row: Any) -> TrendPoint:
    return TrendPoint(
        run=row.run_id,
        commit=row.sha,
        started=iso(row.started),
        value=row.median,
        low=row.median if row.low is None else row.low,
        high=row.median if row.high is None else row.high,
        n=row.n,
        fastest=row.fastest,
        reference_s=row.reference_s,
        verdict=None if row.verdict is None else VERDICTS[row.verdict - 1],
    )


def iso(moment: dt.datetime) -> str:
    """As run documents write it: ISO 8601 to the millisecond. `moment` is in UTC, as `schema.Moment` gives it."""
    return moment.isoformat(timespec="milliseconds")
