"""`open_history`: the one door to a history, a SQLite file or a PostgreSQL database."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from perfguard.errors import HistoryError
from perfguard.history.limits import ALPHA, SMALLEST
from perfguard.history.model import ChangePoint, Series, StoredRun, Trend

try:
    from perfguard.history import baseline, changes, packing, pruning, reading, writing
    from perfguard.history.database import Database
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("sqlalchemy", "alembic"):
        raise
    raise HistoryError("the history", f"{error.name} is missing", "pip install 'perfguard[history]'") from error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Self

    from perfguard.baselines import Baselines
    from perfguard.document import Run
    from perfguard.history.ranges import HistoryRange


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

    def changes(
        self,
        *,
        case: str | None = None,
        metric: str | None = None,
        machine_class: str | None = None,
        branch: str | None = None,
        gated: bool = True,
        alpha: float = ALPHA,
        smallest: float = SMALLEST,
        false_share: float | None = None,
    ) -> tuple[ChangePoint, ...]:
        """The change points of all gated series (or all), or of a case, a metric, a machine class; newest first.

        `alpha` is the chance of finding any in a series that has none; `smallest` leaves out smaller ones, as a
        fraction. With `false_share` only as many stay as keep the false ones below that share, over all series.
        """
        with self.database.reading() as connection:
            branch = reading.main_line(connection) if branch is None else branch
            query = reading.series_where(case=case, metric=metric, machine_class=machine_class, gated=gated)
            series = connection.execute(query).all()
            runs = reading.runs(connection, reading.clean(reading.runs_where(branch, machine_class)))
            found = list(changes.find_changes(connection, series, runs, alpha=alpha, smallest=smallest))
        if false_share is not None:
            found = changes.most_certain(found, len(series), false_share)
        return tuple(sorted(found, key=lambda c: (c.at_started, c.confidence), reverse=True))

    def baselines(self, wanted: HistoryRange, machine_class: str) -> Baselines:
        """The last runs of a branch as baselines of `machine_class`: what `--perfguard-baselines history:...` uses."""
        with self.database.reading() as connection:
            return baseline.baselines(connection, wanted, machine_class)

    def prune(
        self,
        *,
        keep_last: int | None = None,
        before: dt.datetime | None = None,
        branch: str = "*",
        samples_only: bool = False,
        dry_run: bool = False,
    ) -> pruning.Pruned:
        """Remove runs, or only their samples: all but the last `keep_last` of each branch and machine class, `before`.

        With both, a run goes if it is older and not among the last. With neither nothing is removed.
        """
        with self.database.writing() as connection:
            rows = reading.runs(connection, reading.runs_where(branch, None))
            numbers = [row.id for row in pruning.outdated(rows, keep_last=keep_last, before=before)]
            if dry_run:
                return pruning.Pruned(0 if samples_only else len(numbers), pruning.count_samples(connection, numbers))
            removed = pruning.remove_samples(connection, numbers)
            if not samples_only:
                pruning.remove_runs(connection, numbers)
        if numbers:
            self.database.shrink()
        return pruning.Pruned(0 if samples_only else len(numbers), removed)

    def samples(self, case: str, metric: str, run_id: str) -> npt.NDArray[np.float64]:
        """The samples of a metric in a run, shape (n,), in its unit. Raises `HistoryError` if they are not stored."""
        with self.database.reading() as connection:
            packed = reading.samples(connection, case, metric, run_id)
        if packed is None:
            raise HistoryError(self.name, f"has no samples of {metric} of {case} in run {run_id}")
        return packing.unpack(packed)

    def series(self) -> tuple[Series, ...]:
        """All series there are: a metric of a case on a machine class."""
        with self.database.reading() as connection:
            return tuple(reading.described(row) for row in connection.execute(reading.series_where()))

    def close(self) -> None:
        """Close what is open."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
