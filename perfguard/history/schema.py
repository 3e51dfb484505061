"""The tables: one schema for SQLite and PostgreSQL.

Two things decide size and speed. A process run of a metric is a narrow row whose key begins with its series, so that a
trend is one range of one index, and no second index is kept. And all that repeats (cases, paths, machines, commits) is
stored once and named by a small number.

The big tables have no foreign keys to runs: checking them would need an index on `run_id` as large as the data.
One writer at a time fills them in one transaction (`writing.py`, `pruning.py`), so they cannot point nowhere.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from perfguard.document import VERDICTS

# Verdicts are stored as their place in this tuple, plus one. New ones are added at its end.
VERDICT_CODES = {verdict: code for code, verdict in enumerate(VERDICTS, start=1)}
assert VERDICTS == ("faster", "same", "slower", "noisy", "new", "missing", "broken"), "stored codes would change"

metadata = sa.MetaData()
# Of its own name: a team's database may have migrations of something else, too.
VERSION_TABLE = "perfguard_version"

_Json = sa.JSON().with_variant(JSONB(), "postgresql")
# Four bytes in PostgreSQL hold the 6 significant digits that are kept of a measured figure.
_Measured: sa.REAL[float] = sa.REAL()


class Moment(sa.types.TypeDecorator[dt.datetime]):
    """A moment in UTC: `timestamptz` in PostgreSQL, text that sorts in SQLite, which knows no time zones."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        """The column's type in the database."""
        return dialect.type_descriptor(sa.DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: dt.datetime | None, dialect: Any) -> dt.datetime | None:
        """Into the database."""
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(dt.timezone.utc).replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: Any) -> dt.datetime | None:  # noqa: ARG002 - SQLAlchemy calls it so
        """Out of the database."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.timezone.utc) if value.tzinfo is None else value.astimezone(dt.timezone.utc)


environment = sa.Table(
    "environment",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("machine_class", sa.Text, nullable=False),
    sa.Column("description", _Json, nullable=False),
)

revision = sa.Table(
    "revision",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sha", sa.String(64), nullable=False, unique=True),
    # Commits on the first-parent line down to the root, this one included; NULL where a shallow clone cannot tell.
    sa.Column("position", sa.Integer),
    sa.Column("parents", sa.Text, nullable=False, default=""),
    sa.Column("committed", Moment),
)

run = sa.Table(
    "run",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False, unique=True),
    sa.Column("started", Moment, nullable=False),
    sa.Column("finished", Moment),
    sa.Column("profile", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("environment_id", sa.ForeignKey("environment.id"), nullable=False),
    sa.Column("revision_id", sa.ForeignKey("revision.id"), nullable=False),
    sa.Column("dirty", sa.Boolean, nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("exit_status", sa.Integer),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("cases", sa.Integer, nullable=False),
    sa.Column("verdicts", _Json, nullable=False),
    sa.Index("run_by_branch", "branch", "started"),
)

test_case = sa.Table(
    "test_case",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("suite", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("node_id", sa.Text, nullable=False),
    sa.Column("params", _Json, nullable=False),
    sa.UniqueConstraint("key", "suite"),
)

case_run = sa.Table(
    "case_run",
    metadata,
    sa.Column("case_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("duration_s", _Measured, nullable=False),
    sa.Column("wall_s", _Measured),
    sa.Column("unaccounted_s", _Measured),
    sa.Column("unaccounted_median_s", _Measured),
    sa.Column("calls", sa.Integer),
    sa.Column("notes", sa.Text),
    sqlite_with_rowid=False,
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("case_id", sa.ForeignKey("test_case.id"), nullable=False),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("machine_class", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("direction", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    # As the newest run said: they belong to the test, not to its figures.
    sa.Column("gated", sa.Boolean, nullable=False),
    sa.Column("change_limit", sa.Double, nullable=False),
    sa.UniqueConstraint("case_id", "metric", "machine_class", "unit", "direction", "kind"),
)

process_run = sa.Table(
    "process_run",
    metadata,
    sa.Column("series_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("median", sa.Double, nullable=False),  # exact counts and bytes need all 53 bits
    # NULL where they are the median.
    sa.Column("low", _Measured),
    sa.Column("high", _Measured),
    sa.Column("fastest", _Measured),
    sa.Column("reference_s", _Measured),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("verdict", sa.SmallInteger),
    sqlite_with_rowid=False,
)

samples = sa.Table(
    "samples",
    metadata,
    sa.Column("series_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("packed", sa.LargeBinary, nullable=False),
)

phase = sa.Table(
    "phase",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("path", sa.Text, nullable=False, unique=True),
)

phase_time = sa.Table(
    "phase_time",
    metadata,
    sa.Column("case_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("phase_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("median_s", _Measured, nullable=False),
    sa.Column("self_s", _Measured, nullable=False),
    sa.Column("total_s", _Measured, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

# What a run fills, by run: what a prune has to empty.
BY_RUN = (process_run, samples, case_run, phase_time)
