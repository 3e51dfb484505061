"""`open_history`: the one door to a history, a SQLite file or a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from perfguard.errors import HistoryError
from perfguard.history.model import ChangePoint, StoredRun, Trend

try:
    from perfguard.history import reading, writing
    from perfguard.history.database import Database
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("sqlalchemy", "alembic"):
        raise
    raise HistoryError("the history", f"{error.name} is missing", "pip install 'perfguard[history]'") from error

if TYPE_CHECKING:
    from perfguard.document import Run


def open_history(target: str | Path, *, create: bool = True) -> History:
    """The history at a path (SQLite) or SQLAlchemy URL, made or brought up to date if need be.

    With `create` off a SQLite file that is not there is an error. Raises `HistoryError` if it cannot be opened.
    """
    return History(Database(target, create=create))


class History:
    """An open history. Each method is one transaction and raises `HistoryError` if the database fails.

    Where a method takes `branch`, None is the main line (`main_line`) and "*" all branches.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @property
    def name(self) -> str:
        """The path, or the URL without its password."""
        return self.database.name

    def add(self, run: Run, *, samples: bool = True) -> int:
        """Store a run, with its samples or without; the number under which it is stored. Twice the same run is once."""
        with self.database.writing() as connection:
            found = writing.stored_id(connection, run.run_id)
            return writing.write_run(connection, run, with_samples=samples) if found is None else found

    def has(self, run_id: str) -> bool:
        """Whether a run is stored."""
        with self.database.reading() as connection:
            return writing.stored_id(connection, run_id) is not None

    def main_line(self) -> str:
        """The branch that is followed unless one is named: main, master or trunk, else the one with most runs."""
        with self.database.reading() as connection:
            return reading.main_line(connection)

    def runs(
        self,
        *,
        branch: str | None = "*",
        machine_class: str | None = None,
        commit: str | None = None,
        last: int | None = None,
    ) -> tuple[StoredRun, ...]:
        """The runs in commit order, of commits that begin with `commit` and the `last` ones if these are given."""
        with self.database.reading() as connection:
            branch = reading.main_line(connection) if branch is None else branch
            rows = reading.runs(connection, reading.runs_where(branch, machine_class, commit), last)
        return tuple(reading.stored_run(row) for row in rows)

    def trend(
        self,
        case: str,
        metric: str,
        *,
        machine_class: str | None = None,
        last: int | None = None,
        branch: str | None = None,
        dirty: bool = False,
    ) -> Trend:
        """A metric of a case (key or pytest's node id) in commit order.

        Without a machine class: the one measured last. Duets are left out, and so are commits with changes unless
        `dirty`. Raises `HistoryError` if there is no such series.
        """
        with self.database.reading() as connection:
            query = reading.series_where(case=case, metric=metric, machine_class=machine_class)
            series = reading.latest(connection, connection.execute(query).all())
            if series is None:
                where = "" if machine_class is None else f" on {machine_class}"
                raise HistoryError(self.name, f"has no {metric} of {case}{where}", "perfguard history trend lists them")
            branch = reading.main_line(connection) if branch is None else branch
            return reading.trend(connection, series, branch, last, dirty=dirty)

    def close(self) -> None:
        """Close what is open."""
        self.database.close()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
