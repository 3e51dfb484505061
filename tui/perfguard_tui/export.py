"""What leaves the dashboard: a run document, CSV, one page of HTML, and lines for the clipboard. Free of Textual."""

from __future__ import annotations

import csv
import html
import io
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

from perfguard.document import Case, Metric, Run, Status, to_json
from perfguard.errors import OptionError
from perfguard.units import format_change, format_value
from perfguard_tui.marks import verdict_mark
from perfguard_tui.views import CaseView, RunView

_COLUMNS = ("case", "suite", "state", "metric", "unit", "n", "median", "low", "high", "before", "ratio", "verdict")


def document_of(run: RunView) -> Run:
    """The run as far as it is finished, as a run document; long lists of samples are cut to the latest."""
    cases = tuple(
        Case(
            id=case.id,
            key=case.key or case.id,
            suite=case.suite,
            status=cast("Status", case.state),
            params=case.params,
            metrics=case.metrics,
            account=case.account,
            notes=case.notes,
            duration_s=case.duration_s,
            extra=case.extra,
        )
        for case in run.cases
        if case.state not in ("planned", "running")
    )
    commit = {"id": run.commit.rstrip("+"), "dirty": run.commit.endswith("+")}
    finished = None if run.exit_status is None else datetime.now(timezone.utc).isoformat()
    return Run(run.run_id, run.started, finished, run.profile, run.machine, commit, cases, run.gate)


def as_json(run: RunView) -> str:
    """`perfguard.run/1`, which `perfguard compare` reads."""
    return json.dumps(to_json(document_of(run)), indent=1) + "\n"


def as_csv(cases: tuple[CaseView, ...]) -> str:
    """A line for each metric of the cases shown; a cell that a spreadsheet would run is quoted with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for case in cases:
        for metric in case.metrics:
            writer.writerow([_harmless(cell) for cell in _cells(case, metric)])
    return text.getvalue()


def as_html(run: RunView, cases: tuple[CaseView, ...], svg: str) -> str:
    """One page by itself: the screen as it was, and the table as text."""
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _shown(case, metric)) + "</tr>"
        for case in cases
        for metric in case.metrics
    )
    head = "".join(f"<th>{name}</th>" for name in ("case", "metric", "median", "change", "verdict"))
    title = html.escape(f"perfguard run {run.run_id}")
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{font:14px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}</style>\n"
        f"<h1>{title}</h1>\n{svg}\n<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></html>\n"
    )


def markdown_row(case: CaseView) -> str:
    """The case as a row of a Markdown table: name, median, change, verdict."""
    cells = _shown(case, case.headline) if case.headline is not None else [case.name, "", "", "", case.state]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def rerun_command(case: CaseView) -> str:
    """The command that measures this case again."""
    quoted = case.id.replace("'", "'\\''")
    return f"pytest --perfguard '{quoted}'"


def write_new(folder: Path, run_id: str, suffix: str, text: str) -> Path:
    """`perfguard-RUN.suffix` in `folder`, numbered rather than overwritten. Raises `OptionError` naming the path."""
    stem = "perfguard-" + ("".join(c if c.isalnum() or c in "-._" else "_" for c in run_id)[:80] or "run")
    for number in range(1000):
        path = folder / (f"{stem}.{suffix}" if number == 0 else f"{stem}-{number}.{suffix}")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except FileExistsError:
            continue
        except OSError as error:
            raise OptionError(str(path), f"cannot be written: {error.strerror}") from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        return path
    raise OptionError(str(folder), f"holds a thousand exports of {run_id}", "remove some")


def _cells(case: CaseView, metric: Metric) -> list[str]:
    change, baseline = metric.change, metric.baseline
    return [
        case.id,
        case.suite,
        case.state,
        metric.name,
        metric.unit,
        str(metric.n),
        repr(metric.median),
        repr(metric.ci[0]),
        repr(metric.ci[1]),
        "" if baseline is None else repr(baseline.median),
        "" if change is None else repr(change.ratio),
        metric.verdict or "",
    ]


def _shown(case: CaseView, metric: Metric | None) -> list[str]:
    if metric is None:
        return [case.name, "", "", "", case.state]
    return [
        case.name,
        metric.name,
        format_value(metric.median, metric.unit, metric.kind),
        "" if metric.change is None else format_change(metric.change.ratio),
        verdict_mark(metric.verdict) if metric.verdict else "",
    ]


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell[:1] in ("=", "@", "\t", "\r") or (cell[:1] in "+-" and not _is_number(cell)) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
