"""Making room: runs or only their samples out of the database, and what nothing refers to any more."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from perfguard.history import schema
from perfguard.history.writing import CHUNK


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed: `runs` altogether, and the samples of `samples` metrics."""

    runs: int
    samples: int


def outdated(rows: Sequence[Any], *, keep_last: int | None, before: dt.datetime | None) -> list[Any]:
    """Of runs in commit order those to remove: older than `before` and not of the last ones that are kept anyway.

    The last `keep_last` of each branch and machine class are kept; without `before` all others go, without
    `keep_last` all that are older. Neither given removes nothing.
    """
    if keep_last is None and before is None:
        return []
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        groups[row.branch, row.machine_class].append(row)
    kept = {row.id for group in groups.values() for row in (group[-keep_last:] if keep_last else ())}
    return [row for row in rows if row.id not in kept and (before is None or row.started < before)]


def remove_runs(connection: Connection, numbers: Sequence[int]) -> None:
    """Remove runs with all they measured, then cases, series, machines and commits that no run has any more."""
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        for table in schema.BY_RUN:
            connection.execute(sa.delete(table).where(table.c.run_id.in_(chunk)))
        connection.execute(sa.delete(schema.run).where(schema.run.c.id.in_(chunk)))
    if numbers:
        _remove_unused(connection)


def remove_samples(connection: Connection, numbers: Sequence[int]) -> int:
    """Remove the samples of runs, keep their figures; of how many metrics."""
    removed = 0
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        removed += connection.execute(sa.delete(schema.samples).where(schema.samples.c.run_id.in_(chunk))).rowcount
    return removed


def count_samples(connection: Connection, numbers: Sequence[int]) -> int:
    """Of how many metrics these runs have samples."""
    counted = 0
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        query = sa.select(sa.func.count()).select_from(schema.samples).where(schema.samples.c.run_id.in_(chunk))
        counted += connection.execute(query).scalar_one()
    return counted


def _remove_unused(connection: Connection) -> None:
    """From what refers to what is referred to."""
    for table, number, users in (
        (schema.series, schema.series.c.id, (schema.process_run.c.series_id,)),
        (schema.test_case, schema.test_case.c.id, (schema.series.c.case_id, schema.case_run.c.case_id)),
        (schema.environment, schema.environment.c.id, (schema.run.c.environment_id,)),
        (schema.revision, schema.revision.c.id, (schema.run.c.revision_id,)),
    ):
        unused = [~sa.exists().where(user == number) for user in users]
        connection.execute(sa.delete(table).where(*unused))
