"""One run into the database, in the caller's transaction."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from perfguard.baselines.summary import stored
from perfguard.document import EXACT_KINDS, Case, Metric, Run, check_figure
from perfguard.errors import DocumentError
from perfguard.history import packing, schema

# Bound variables of one statement: SQLite takes 32,766, and long lists plan badly anywhere.
CHUNK = 500
MOST_NOTES = 4000
_LARGEST_INT = 2**31 - 1
_SMALLEST_REAL, _LARGEST_REAL = 1e-37, 3e38

SeriesKey = tuple[int, str, str, str, str, str]


def stored_id(connection: Connection, run_id: str) -> int | None:
    """The number under which the run of that id is stored, None if it is not."""
    found = connection.execute(sa.select(schema.run.c.id).where(schema.run.c.run_id == text(run_id))).scalar()
    return None if found is None else int(found)


def write_run(connection: Connection, run: Run, *, with_samples: bool) -> int:
    """Store a run that is not stored yet; its number. Figures of cases that did not pass are left out.

    Raises `DocumentError` for a document without a date, `MeasurementError` for a figure that is not finite.
    """
    environment = _environment(connection, run)
    revision = _revision(connection, run)
    row = _run_row(run) | {"environment_id": environment, "revision_id": revision}
    number = int(connection.execute(sa.insert(schema.run).values(row).returning(schema.run.c.id)).scalar_one())
    cases = _cases(connection, run.cases)
    by_id = {cases[_case_key(case)]: case for case in run.cases}
    _insert(connection, schema.case_run, (_case_row(case, case_id, number) for case_id, case in by_id.items()))
    _figures(connection, run, cases, number, with_samples)
    _phases(connection, run.cases, cases, number)
    return number


def moment(value: str, what: str) -> dt.datetime:
    """An ISO 8601 text as a moment in UTC. Raises `DocumentError` naming `what`."""
    try:
        found = dt.datetime.fromisoformat(value.replace("Z", "+00:00"))  # Python 3.10 does not read the Z
    except ValueError as error:
        raise DocumentError(f"run document: {what}", f"{value!r} is no ISO 8601 date") from error
    return (found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)).astimezone(dt.timezone.utc)


def text(value: object) -> str:
    """A text that both databases can hold: no NUL, no half of a surrogate pair."""
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def is_duet(run: Run) -> bool:
    """Whether a run compared two revisions in turn."""
    return any(m.change is not None and m.change.basis == "pairs" for case in run.cases for m in case.metrics)


def measured_metrics(case: Case) -> tuple[Metric, ...]:
    """The metrics of a case that are worth keeping: none of a case that did not pass."""
    return tuple(m for m in case.metrics if m.verdict != "broken") if case.status == "passed" else ()


# -- what repeats


def _environment(connection: Connection, run: Run) -> int:
    table = schema.environment
    description = _json(run.machine)
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    found = connection.execute(sa.select(table.c.id).where(table.c.digest == digest)).scalar()
    if found is None:
        row = {"digest": digest, "machine_class": text(run.machine.get("class", "")), "description": description}
        found = connection.execute(sa.insert(table).values(row).returning(table.c.id)).scalar_one()
    return int(found)


def _revision(connection: Connection, run: Run) -> int:
    table, commit = schema.revision, run.commit
    sha = text(commit.get("id", ""))[:64]
    position = commit.get("position")
    position = int(position) if isinstance(position, int) else None
    found = connection.execute(sa.select(table.c.id, table.c.position).where(table.c.sha == sha)).first()
    if found is not None:
        if found.position is None and position is not None:
            connection.execute(sa.update(table).where(table.c.id == found.id).values(position=position))
        return int(found.id)
    row = {
        "sha": sha,
        "position": position if sha else None,
        "parents": " ".join(text(parent) for parent in commit.get("parents", ())),
        "committed": moment(str(commit["time"]), "commit.time") if sha and commit.get("time") else None,
    }
    return int(connection.execute(sa.insert(table).values(row).returning(table.c.id)).scalar_one())


def _run_row(run: Run) -> dict[str, Any]:
    verdicts = Counter(m.verdict for case in run.cases for m in case.metrics if m.verdict is not None)
    return {
        "run_id": text(run.run_id),
        "started": moment(run.started, "started"),
        "finished": None if run.finished is None else moment(run.finished, "finished"),
        "profile": text(run.profile),
        "mode": "duet" if is_duet(run) else "plain",
        "dirty": bool(run.commit.get("dirty")),
        "branch": text(run.commit.get("branch", "")),
        "exit_status": None if run.gate is None else run.gate.exit_status,
        "reason": "" if run.gate is None else text(run.gate.reason),
        "cases": len(run.cases),
        "verdicts": dict(sorted(verdicts.items())),
    }


def _case_key(case: Case) -> tuple[str, str]:
    return text(case.suite), text(case.key)


def _cases(connection: Connection, cases: Sequence[Case]) -> dict[tuple[str, str], int]:
    """The number of each case by suite and key; new ones are stored, a node id that changed is noted."""
    table = schema.test_case
    known: dict[tuple[str, str], tuple[int, str]] = {}

    def look(keys: Iterable[str]) -> None:
        for chunk in _chunks(sorted(set(keys))):
            query = sa.select(table.c.suite, table.c.key, table.c.id, table.c.node_id).where(table.c.key.in_(chunk))
            known.update({(row.suite, row.key): (row.id, row.node_id) for row in connection.execute(query)})

    by_key = {_case_key(case): case for case in cases}
    look(key for _, key in by_key)
    new = sorted(set(by_key) - set(known))
    rows = (
        {"suite": key[0], "key": key[1], "node_id": text(by_key[key].id), "params": _json(by_key[key].params)}
        for key in new
    )
    _insert(connection, table, rows)
    look(key for _, key in new)
    for key, case in by_key.items():
        number, node_id = known[key]
        if node_id != text(case.id):
            connection.execute(sa.update(table).where(table.c.id == number).values(node_id=text(case.id)))
    return {key: known[key][0] for key in by_key}


def _series(connection: Connection, run: Run, cases: Mapping[tuple[str, str], int]) -> list[tuple[int, Metric]]:
    """Each metric worth keeping with the number of its series."""
    table, machine_class = schema.series, text(run.machine.get("class", ""))
    wanted: dict[SeriesKey, Metric] = {}
    for case in run.cases:
        for m in measured_metrics(case):
            wanted[cases[_case_key(case)], text(m.name), machine_class, text(m.unit), m.direction, m.kind] = m
    known: dict[SeriesKey, Any] = {}

    def look(case_ids: Iterable[int]) -> None:
        for chunk in _chunks(sorted(set(case_ids))):
            query = sa.select(table).where(table.c.case_id.in_(chunk), table.c.machine_class == machine_class)
            for row in connection.execute(query):
                known[row.case_id, row.metric, row.machine_class, row.unit, row.direction, row.kind] = row

    look(key[0] for key in wanted)
    names = ("case_id", "metric", "machine_class", "unit", "direction", "kind")
    new = sorted(set(wanted) - set(known))
    said = {key: {"gated": m.gated, "change_limit": m.limit} for key, m in wanted.items()}
    _insert(connection, table, (dict(zip(names, key, strict=True)) | said[key] for key in new))
    look(key[0] for key in new)
    for key in wanted:
        if (known[key].gated, known[key].change_limit) != (said[key]["gated"], said[key]["change_limit"]):
            connection.execute(sa.update(table).where(table.c.id == known[key].id).values(said[key]))
    return [(int(known[key].id), m) for key, m in wanted.items()]


# -- what each run adds


def _figures(
    connection: Connection, run: Run, cases: Mapping[tuple[str, str], int], number: int, with_samples: bool
) -> None:
    found = _series(connection, run, cases)
    _insert(connection, schema.process_run, (_figure_row(series, metric, number) for series, metric in found))
    if with_samples:
        rows = (
            {"series_id": series, "run_id": number, "packed": packing.pack(metric.samples)}
            for series, metric in found
            if len(metric.samples) > 1
        )
        _insert(connection, schema.samples, rows)


def _figure_row(series: int, metric: Metric, number: int) -> dict[str, Any]:
    median = stored(check_figure(metric.name, metric.median), metric.kind)
    low, high = (stored(check_figure(metric.name, end), metric.kind) for end in metric.ci)
    alone = low == median == high or (metric.kind in EXACT_KINDS and metric.n <= 1)
    return {
        "series_id": series,
        "run_id": number,
        "median": median,
        "low": None if alone else _real(low),
        "high": None if alone else _real(high),
        "fastest": None if metric.fastest is None else _real(check_figure(metric.name, metric.fastest)),
        "reference_s": None if metric.reference_s is None else _real(check_figure(metric.name, metric.reference_s)),
        "n": min(metric.n, _LARGEST_INT),
        "verdict": None if metric.verdict is None else schema.VERDICT_CODES[metric.verdict],
    }


def _case_row(case: Case, case_id: int, number: int) -> dict[str, Any]:
    account = case.account
    return {
        "case_id": case_id,
        "run_id": number,
        "status": case.status,
        "duration_s": _real(case.duration_s),
        "wall_s": None if account is None else _real(account.wall_s),
        "unaccounted_s": None if account is None else _real(account.unaccounted_s),
        "unaccounted_median_s": None if account is None else _real(account.unaccounted_median_s),
        "calls": None if account is None else min(account.calls, _LARGEST_INT),
        "notes": text("\n".join(case.notes))[:MOST_NOTES] or None,
    }


def _phases(
    connection: Connection, all_cases: Sequence[Case], cases: Mapping[tuple[str, str], int], number: int
) -> None:
    table = schema.phase
    rows = [(case, p) for case in all_cases if case.account is not None for p in case.account.phases]
    paths = sorted({text(p.path) for _, p in rows})
    known: dict[str, int] = {}

    def look(names: Sequence[str]) -> None:
        for chunk in _chunks(names):
            query = sa.select(table.c.path, table.c.id).where(table.c.path.in_(chunk))
            known.update({row.path: row.id for row in connection.execute(query)})

    look(paths)
    new = [path for path in paths if path not in known]
    _insert(connection, table, ({"path": path} for path in new))
    look(new)
    times = {
        (cases[_case_key(case)], known[text(p.path)]): {
            "case_id": cases[_case_key(case)],
            "run_id": number,
            "phase_id": known[text(p.path)],
            "median_s": _real(p.median_s),
            "self_s": _real(p.self_s),
            "total_s": _real(p.total_s),
            "count": min(p.count, _LARGEST_INT),
        }
        for case, p in rows
    }
    _insert(connection, schema.phase_time, times.values())


def _insert(connection: Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
    if given := [dict(row) for row in rows]:
        connection.execute(sa.insert(table), given)


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _real(value: float) -> float:
    """6 significant digits, inside the range of a four-byte float."""
    size = abs(value)
    if size < _SMALLEST_REAL:
        return 0.0
    return math.copysign(_LARGEST_REAL, value) if size > _LARGEST_REAL else stored(value, "time")


def _json(value: Mapping[str, Any]) -> Any:
    """Plain JSON that both databases take."""
    dumped = json.dumps(dict(value), default=str, sort_keys=True, ensure_ascii=False)
    return json.loads(text(dumped).replace("\\u0000", "\\ufffd"), parse_constant=str)
