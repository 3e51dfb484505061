"""The compare page: every metric that two runs share, the surest change first, and by which phase it came."""

from __future__ import annotations

from perfguard.units import format_change, format_change_interval, format_value
from perfguard_tui.comparing import Compared, Comparison
from perfguard_tui.draw.changes import draw_change
from perfguard_tui.draw.page import Drawn, columns_of, joined, wrapped
from perfguard_tui.lines import Line, fit, fit_middle, line
from perfguard_tui.marks import bar, verdict_mark

TWO_COLUMNS_FROM = 150
_ALL = 2000


def draw_compare(comparison: Comparison, cursor: int, width: int, height: int) -> Drawn:
    """Rows with the chosen one's reasons above (narrow) or at the right (wide)."""
    two = width >= TWO_COLUMNS_FROM
    room, side = columns_of(width) if two else (width - 1, width - 1)
    rows = comparison.rows[:_ALL]
    cursor = max(0, min(len(rows) - 1, cursor))
    head: list[Line] = [
        line((" before ", "dim"), (comparison.before, "text"), ("  now ", "dim"), (comparison.now, "text")),
    ]
    for note in comparison.notes:
        head += wrapped(note, room, "dim")
    if not rows:
        return Drawn(joined(head, [((" nothing to compare: no metric has a figure before and now", "dim"),)]))
    why = draw_why(rows[cursor], side)
    if not two:
        head = joined(head, why[: max(4, height // 3)])
    columns = max(12, room - 10 - 16 - 10 - 10 - 9 - 4 - (30 if room >= 96 else 0))
    titles = (
        f" {fit('verdict', 10)}{fit('case', columns)} {fit('metric', 16)}{fit('before', 10, right=True)}"
        f"{fit('now', 10, right=True)}{fit('change', 9, right=True)}"
    )
    if room >= 96:
        titles += f"{fit('interval', 20, right=True)}  certainty"
    lines = [*head, (), ((titles, "header"),)]
    first = len(lines)
    lines += [_row(row, columns, room) for row in rows]
    if comparison.gone:
        lines += wrapped(f"only in the run before: {', '.join(comparison.gone[:20])}", room, "missing")
    return Drawn(lines, why if two else (), first + cursor)


def draw_why(row: Compared, width: int) -> list[Line]:
    """The chosen change in words and bars."""
    metric, change = row.metric, row.metric.change
    gated = "" if metric.gated else "  (not gated)"
    lines: list[Line] = [line((f" {row.name} ", "bold"), (metric.name, "text"), (gated, "dim"))]
    if change is not None:
        now = format_value(metric.median, metric.unit, metric.kind)
        was = "" if metric.baseline is None else format_value(metric.baseline.median, metric.unit, metric.kind)
        told = f"{format_change(change.ratio)} {format_change_interval(change.ci)}"
        lines += [line((f" {was} → {now}  ", "text"), (told, metric.verdict or "text"))]
    if metric.change is not None and metric.change.phases:
        return [*lines, *draw_change(metric, width)]
    what = {"same": "no change to look for reasons of", "noisy": "whether it changed cannot be told within the noise"}
    return [*lines, *wrapped(what.get(metric.verdict or "same", "no phases tell why"), width, "dim")]


def _row(row: Compared, columns: int, width: int) -> Line:
    metric, change = row.metric, row.metric.change
    assert change is not None
    verdict = metric.verdict or "same"
    before = "" if metric.baseline is None else format_value(metric.baseline.median, metric.unit, metric.kind)
    interesting = verdict in ("slower", "faster", "broken")
    spans = [
        (f" {fit(verdict_mark(verdict), 10)}", verdict),
        (fit_middle(row.name.removeprefix("test_"), columns) + " ", "text" if interesting else "dim"),
        (fit(metric.name, 16), "dim"),
        (fit(before, 10, right=True), "dim"),
        (fit(format_value(metric.median, metric.unit, metric.kind), 10, right=True), "text"),
        (fit(format_change(change.ratio).replace(" %", "%"), 9, right=True), verdict if interesting else "text"),
    ]
    if width >= 96:
        interval = format_change_interval(change.ci).replace(" %", "")
        spans += [(fit(interval, 20, right=True) + "  ", "dim"), (bar(min(row.certainty, 8) / 8, 8), "bar")]
    return line(*spans)
