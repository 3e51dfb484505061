"""Runs, trends and change points in words, as the command line prints them."""

from __future__ import annotations

from collections.abc import Sequence

from perfguard.commands.table import short_key, table
from perfguard.history.bisecting import bisect_command
from perfguard.history.model import ChangePoint, StoredRun, Trend
from perfguard.history.plot import plot
from perfguard.report.words import GLYPHS
from perfguard.units import format_change, format_change_interval, format_value

_SHORT = 9
_SUREST = 0.9999  # what is shown of a confidence


def runs_table(runs: Sequence[StoredRun]) -> str:
    """A line per run; of the verdicts those that are not `same`."""
    rows = []
    for run in runs:
        told = " ".join(f"{GLYPHS[verdict]}{count}" for verdict, count in run.verdicts.items() if verdict != "same")
        commit = short(run.commit) + ("+dirty" if run.dirty else "") + (" (duet)" if run.mode == "duet" else "")
        status = "" if run.exit_status is None else str(run.exit_status)
        started = run.started[:16].replace("T", " ")
        rows.append((started, commit, run.branch, str(run.cases), status, told, run.machine_class))
    headers = ("started", "commit", "branch", "cases", "exit", "verdicts", "machine class")
    return table(headers, rows, frozenset({"cases"}))


def trend_text(trend: Trend, changes: Sequence[ChangePoint], width: int, ascii_only: bool) -> str:
    """The trend drawn in `width` columns, and each of its changes in words."""
    if not trend.points:
        return f"{trend.name}: no points on this branch"
    first, last = trend.points[0], trend.points[-1]
    ends = " to ".join(f"{short(point.commit)} ({point.started[:10]})" for point in (first, last))
    now = format_value(last.value, trend.unit, trend.kind)
    lines = [
        f"{trend.name}, {trend.better} is better, on {trend.machine_class}",
        plot(trend, changes, width, ascii_only=ascii_only),
        f"{len(trend.points)} runs from {ends}; last {now}",
        *(change_text(change) for change in changes),
    ]
    return "\n".join(lines)


def change_text(change: ChangePoint) -> str:
    """What changed, where, how sure that is, and the bisect to go on with."""
    glyph = GLYPHS["slower" if change.is_worse else "faster"]
    before, after = (format_value(x, change.unit, change.kind) for x in (change.level_before, change.level_after))
    interval = format_change_interval((change.low, change.high))
    head = f"{glyph} {short_key(change.case)} {change.metric}: {format_change(change.magnitude)} {interval}"
    since = f"{change.at_started[:10]}, {change.runs_after} runs since"
    where = f"after {short(change.before)}, by {short(change.after)} ({since})"
    sure = f"confidence {min(change.confidence, _SUREST):.2%}"
    lines = [f"{head}, {before} -> {after}", f"    {where}; {sure}; {change.machine_class}"]
    command = bisect_command(change)
    return "\n".join([*lines, *([f"    {command}"] if command else [])])


def short(sha: str) -> str:
    """Enough of a commit's id to find it."""
    return sha[:_SHORT] or "(no commit)"
