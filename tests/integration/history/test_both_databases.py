"""Claims that hold for a history in SQLite and in PostgreSQL alike, each on a real database."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from baseline_runs import CLASS, KEY, SUITE, ratio_metric, time_metric
from history_runs import NODE, case_of, history_run, sha

from perfguard import baselines
from perfguard.errors import HistoryError
from perfguard.history import open_history, schema
from perfguard.history.ranges import parse_range

WRITER = Path(__file__).parents[2] / "helpers" / "history_writer.py"
TIMEOUT_S = 60


def test_a_run_comes_back_as_it_was_stored_once_and_its_samples_bit_by_bit(target: str) -> None:
    """Figures come back to 6 digits, samples exactly; storing the run again changes nothing."""
    samples = tuple(np.random.default_rng(1).lognormal(-8, 0.1, 200))
    run = history_run(3, median=0.000412345678, samples=samples)
    awkward = replace(run.cases[0], notes=("a\0b \ud800 µ",), params={"x\0": math.nan})
    run = replace(run, cases=(awkward,))
    with open_history(target) as history:
        assert history.add(run) == history.add(run)
        (stored,) = history.runs()
        assert (stored.commit, stored.position, stored.machine_class) == (sha(3), 4, CLASS)
        assert (stored.cases, stored.verdicts, stored.exit_status) == (1, {"same": 3}, 0)
        (point,) = history.trend(KEY, "time").points
        assert (point.value, point.low, point.high, point.n) == (0.000412346, 0.000408222, 0.000416469, 120)
        assert (point.fastest, point.reference_s, point.verdict) == (0.000404099, 0.0002, "same")
        assert history.trend(NODE, "sent").points[0].value == 1048576.0
        assert tuple(history.samples(KEY, "time", run.run_id)) == samples


def test_the_migrations_make_the_tables_that_the_code_describes(target: str) -> None:
    """Alembic finds no difference between a migrated database and `perfguard.history.schema`."""
    with open_history(target) as history, history.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, schema.metadata) == []


def test_a_newer_schema_is_refused_with_what_to_do(target: str) -> None:
    """A database that a newer perfguard wrote is not touched."""
    with open_history(target) as history, history.database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9000'")
    with pytest.raises(HistoryError, match=r"9000.*newer perfguard"):
        open_history(target)


def test_eight_openers_and_writers_at_once_lose_nothing(target: str) -> None:
    """Eight processes open one new database at the same moment and store four runs each: 32 runs, all whole."""
    done = subprocess.run(
        [sys.executable, str(WRITER), target, "8", "4"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    with open_history(target) as history:
        runs = history.runs()
        assert [run.commit for run in runs] == [sha(1000 + number) for number in range(32)]
        assert {run.cases for run in runs} == {20}
        assert len(history.trend("m::test_0", "time").points) == 32
        with history.database.reading() as connection:
            counts = [connection.execute(sa.select(sa.func.count()).select_from(t)).scalar() for t in schema.BY_RUN]
        assert counts == [32 * 20, 32 * 20, 32 * 20, 32 * 20 * 2]


def test_a_step_is_found_with_its_commits_and_only_where_it_is(target: str) -> None:
    """A step of 8 % in one case on one class is told; the same case elsewhere, and other metrics, are not."""
    noise = np.random.default_rng(7).normal(0, 0.01, (2, 60))
    with open_history(target) as history:
        for number in range(60):
            slower = 1.08 if number >= 40 else 1.0
            history.add(history_run(number, 4e-4 * slower * math.exp(noise[0, number])), samples=False)
            history.add(history_run(number, 5e-4 * math.exp(noise[1, number]), machine_class="other"), samples=False)
        (change,) = history.changes()
        assert (change.case, change.metric, change.machine_class, change.is_worse) == (KEY, "time", CLASS, True)
        assert int(change.before, 16) < 40 <= int(change.after, 16)
        assert change.low < 1.08 < change.high
        assert change.confidence > 0.99
        assert history.changes(machine_class="other") == ()
        assert history.changes(smallest=0.2) == ()
        assert len(history.trend(KEY, "time", machine_class=CLASS, last=7).points) == 7


def test_baselines_from_history_are_those_that_updates_would_have_stored(target: str, tmp_path: Path) -> None:
    """The last runs of a branch give the same process runs as as many updates of baseline files, class by class."""
    runs = [history_run(number, 4e-4 + 1e-6 * number) for number in range(4)]
    other = history_run(9, 7e-4, machine_class="other")
    with open_history(target) as history:
        for run in (*runs, other, history_run(5, branch="topic"), history_run(6, dirty=True)):
            history.add(run)
        found = history.baselines(parse_range("history:main@last-4"), CLASS)
    for run in runs:
        baselines.update(tmp_path / "files", run)
    stored = baselines.load(tmp_path / "files", CLASS)
    key = (SUITE, KEY, "time")
    assert found.metrics[key].process_runs == stored.metrics[key].process_runs
    assert found.metrics[key].source == "history:main@last-4"
    assert found.other_classes == ("other",)
    # Portable figures are any machine's: of the last four runs the other machine's is one.
    portable = found.metrics[SUITE, KEY, "over_memcpy"].process_runs
    assert [run.commit for run in portable] == [sha(number)[:10] for number in (1, 2, 3, 9)]


def test_commits_are_in_their_order_whenever_they_were_measured(target: str) -> None:
    """An old commit measured late, and one from a shallow clone without position, stand where they belong."""
    with open_history(target) as history:
        for number in (5, 2, 9, 0):
            history.add(history_run(number, position=None if number == 2 else number + 1))
        assert [int(run.commit, 16) for run in history.runs()] == [0, 2, 5, 9]


def test_pruning_keeps_the_last_runs_and_removes_what_nothing_needs(target: str) -> None:
    """All but the last two runs of each branch go, with the cases that only they had; samples can go alone."""
    with open_history(target) as history:
        gone = case_of([time_metric(verdict="same")], "m::test_gone", "m.py::test_gone")
        history.add(history_run(0, cases=[gone]))
        for number in range(1, 6):
            history.add(history_run(number, samples=(1.0, 2.0, 3.0)))
        assert history.prune(keep_last=2, dry_run=True).runs == 4
        noon = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
        told = history.prune(before=noon, samples_only=True, dry_run=True)
        assert (told.runs, told.samples) == (0, 4)
        assert history.prune(before=noon, samples_only=True) == told
        with pytest.raises(HistoryError, match="no samples"):
            history.samples(KEY, "time", history_run(2).run_id)
        assert history.prune(keep_last=2).runs == 4
        assert [int(run.commit, 16) for run in history.runs()] == [4, 5]
        assert {series.case for series in history.series()} == {KEY}
        assert list(history.samples(KEY, "time", history_run(5).run_id)) == [1.0, 2.0, 3.0]


def test_a_metric_that_changed_its_unit_is_another_series(target: str) -> None:
    """Figures that do not compare are not drawn as one trend: the newest kind is."""
    with open_history(target) as history:
        history.add(history_run(0, cases=[case_of([ratio_metric(2.0, name="speed")])]))
        history.add(history_run(1, cases=[case_of([ratio_metric(3.0, name="speed", direction="higher")])]))
        trend = history.trend(KEY, "speed")
        assert (trend.better, [point.value for point in trend.points]) == ("higher", [3.0])


def test_what_is_not_there_is_named(target: str) -> None:
    """A case that was never measured is an error that names it."""
    with open_history(target) as history, pytest.raises(HistoryError, match=r"no time of m::test_x"):
        history.trend("m::test_x", "time")


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """A SQLite file with other tables, and a file that is no database, are refused by name."""
    foreign, text = tmp_path / "foreign.db", tmp_path / "text.db"
    engine = sa.create_engine(f"sqlite:///{foreign}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE accounts (id INTEGER)")
    text.write_text(json.dumps({"not": "a database" * 100}))
    for path, problem in ((foreign, "something else"), (text, "not a database"), (tmp_path, "is a folder")):
        with pytest.raises(HistoryError, match=problem):
            open_history(path)
    with pytest.raises(HistoryError, match="mysql cannot be used"):
        open_history("mysql://somebody:secret@host/runs")
