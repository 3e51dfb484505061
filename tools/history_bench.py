"""The history at scale: 10,000 series of 1,000 runs each in SQLite and in PostgreSQL, made, measured, removed.

    python tools/history_bench.py fill TARGET          make the history (a path or a PostgreSQL URL)
    python tools/history_bench.py measure TARGET       trend of a case, storing a run of 500 cases, all change points
    python tools/history_bench.py all [--folder DIR]   both, in SQLite and in a PostgreSQL server of its own

Rows are made run by run, as years would have made them, with levels that step in a tenth of the series.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from baseline_runs import time_metric
from history_runs import FIRST, case_of, history_run, sha

from perfguard.history import History, open_history, schema

CASES, METRICS, RUNS = 2500, 4, 1000
NAMES = ("time", "p99", "setup", "tokens")
STORED_CASES = 500
GOALS_S = {"trend": 0.2, "store": 1.0, "changes": 120.0}
REPEATS = 20


def fill(target: str, runs: int) -> float:
    """Make the history, past the writer but into its tables; how many seconds it took."""
    begin_s = time.perf_counter()
    with open_history(target) as history:
        first = [
            case_of([time_metric(name=name) for name in NAMES], f"m::test_{i}", f"m.py::test_{i}") for i in range(CASES)
        ]
        history.add(history_run(0, cases=first), samples=False)
        with history.database.writing() as connection:
            for table in (schema.process_run, schema.case_run, schema.phase_time):
                connection.execute(sa.delete(table).where(table.c.run_id > 1))
            _runs(connection, runs)
        with history.database.writing() as connection:
            ids = np.array(
                connection.execute(sa.select(schema.series.c.id).order_by(schema.series.c.id)).scalars().all()
            )
            _figures(history, connection, ids, runs)
        if not history.database.is_sqlite:
            with history.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
    return time.perf_counter() - begin_s


def _runs(connection: Any, runs: int) -> None:
    numbers = range(1, runs)
    commits = [{"sha": sha(n), "position": n + 1, "parents": sha(n - 1), "committed": FIRST} for n in numbers]
    connection.execute(sa.insert(schema.revision), commits)
    of = dict(connection.execute(sa.select(schema.revision.c.sha, schema.revision.c.id)).all())
    template = dict(connection.execute(sa.select(schema.run)).mappings().one())
    rows = [
        {**template, "id": n + 1, "run_id": f"run-{n}", "started": history_moment(n), "revision_id": of[sha(n)]}
        for n in numbers
    ]
    connection.execute(sa.insert(schema.run), rows)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('run', 'id'), {runs})")


def history_moment(number: int) -> Any:
    """When run `number` started."""
    import datetime as dt

    return FIRST + dt.timedelta(days=number)


def _rows(ids: np.ndarray[Any, Any], runs: int) -> Iterator[list[tuple[Any, ...]]]:
    """The process runs of each further run: 2 % noise, a step of 8 % somewhere in every tenth series."""
    rng = np.random.default_rng(1)
    base = rng.lognormal(-7, 1, ids.size)
    step_at = np.where(np.arange(ids.size) % 10 == 0, rng.integers(runs // 10, runs, ids.size), runs)
    for number in range(1, runs):
        median = base * np.where(number >= step_at, 1.08, 1.0) * np.exp(rng.normal(0, 0.02, ids.size))
        columns = [_rounded(median * part).tolist() for part in (1, 0.99, 1.01, 0.97)]
        reference = float(f"{2e-4 * np.exp(rng.normal(0, 0.01)):.6g}")
        yield [
            (i, number + 1, m, low, high, fastest, reference, 120, 2)
            for i, m, low, high, fastest in zip(ids.tolist(), *columns, strict=True)
        ]


def _rounded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """To 6 significant digits, as the history keeps them."""
    scale = 10.0 ** (5 - np.floor(np.log10(values)))
    return np.asarray(np.round(values * scale) / scale)


def _figures(history: History, connection: Any, ids: np.ndarray[Any, Any], runs: int) -> None:
    driver = connection.connection.driver_connection
    columns = ", ".join(column.name for column in schema.process_run.c)
    if history.database.is_sqlite:
        # In the order of the key at last: a B-tree that grows in random places would take an hour to make.
        driver.execute("CREATE TEMP TABLE made AS SELECT * FROM process_run WHERE 0")
        for rows in _rows(ids, runs):
            driver.executemany(f"INSERT INTO made ({columns}) VALUES (?,?,?,?,?,?,?,?,?)", rows)  # noqa: S608 - names only
        driver.execute(f"INSERT INTO process_run ({columns}) SELECT * FROM made ORDER BY series_id, run_id")  # noqa: S608
        driver.execute("DROP TABLE made")
        return
    with driver.cursor() as cursor, cursor.copy(f"COPY process_run ({columns}) FROM STDIN") as copy:
        for rows in _rows(ids, runs):
            for row in rows:
                copy.write_row(row)


def measure(target: str) -> dict[str, Any]:
    """What the goals are about, each as a user would wait for it; seconds."""
    found: dict[str, Any] = {}
    with open_history(target) as history:
        cases = [f"m::test_{7 * i % CASES}" for i in range(REPEATS)]
        found["trend"] = _timed(lambda i: history.trend(cases[i], "p99"), REPEATS)
        changes: list[int] = []
        found["changes"] = _timed(lambda _: changes.append(len(history.changes())), 1)
        found["changes found"] = changes[0]
        found["bytes"] = _size(history)
        runs = [_big_run(RUNS + 1 + i) for i in range(5)]
        found["store"] = _timed(lambda i: history.add(runs[i]), len(runs))
        with history.database.reading() as connection:
            query = sa.select(sa.func.count()).select_from(schema.process_run)
            found["process runs"] = connection.execute(query).scalar()
    return found


def _big_run(number: int) -> Any:
    samples = tuple(np.random.default_rng(number).lognormal(-8, 0.1, 60))
    metrics = [
        time_metric(name=name, samples=samples, fastest=4e-4, reference_s=2e-4, verdict="same") for name in NAMES
    ]
    return history_run(number, cases=[case_of(metrics, f"m::test_{i}", f"m.py::test_{i}") for i in range(STORED_CASES)])


def _timed(call: Callable[[int], Any], times: int) -> dict[str, float]:
    seconds = []
    for index in range(times):
        begin_s = time.perf_counter()
        call(index)
        seconds.append(time.perf_counter() - begin_s)
    return {"n": times, "median_s": statistics.median(seconds), "worst_s": max(seconds), "first_s": seconds[0]}


def _size(history: History) -> int:
    if history.database.is_sqlite:
        return sum(path.stat().st_size for path in Path(history.name).parent.glob(Path(history.name).name + "*"))
    with history.database.reading() as connection:
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


def tell(name: str, found: dict[str, Any]) -> None:
    """Against the goals."""
    print(f"{name}: {found['process runs']:,} process runs, {found['bytes'] / 1e6:,.0f} MB")
    for what, goal_s in GOALS_S.items():
        one = found[what]
        met = "met" if one["worst_s"] < goal_s else "MISSED"
        print(
            f"  {what:<8} median {one['median_s']:8.3f} s  worst {one['worst_s']:8.3f} s  n={one['n']}"
            f"  goal {goal_s:g} s: {met}"
        )
    print(f"  changes found: {found['changes found']}", flush=True)


def main() -> int:
    """Fill, measure, or both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fill", "measure", "all"))
    parser.add_argument("target", nargs="?")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--folder", type=Path, default=Path("build/history-bench"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.what == "fill":
        print(f"filled in {fill(options.target, options.runs):.0f} s")
        return 0
    if options.what == "measure":
        found = measure(options.target)
        tell(options.target.partition(":")[0], found)
        if options.json is not None:
            options.json.write_text(json.dumps(found, indent=1))
        return 0
    import postgres_server

    options.folder.mkdir(parents=True, exist_ok=True)
    results = {}
    file = options.folder / "history.db"
    file.unlink(missing_ok=True)
    with postgres_server.server() as url:
        for name, target in (("sqlite", str(file)), ("postgresql", url)):
            print(f"{name}: filled in {fill(target, options.runs):.0f} s", flush=True)
            results[name] = measure(target)
            tell(name, results[name])
    file.unlink()
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
