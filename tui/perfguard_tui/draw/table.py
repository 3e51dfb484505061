"""The table of cases: one line a case. Only the rows on screen are ever drawn."""

from __future__ import annotations

from dataclasses import dataclass

from perfguard.document import Metric
from perfguard.units import format_change, format_value
from perfguard_tui.lines import Line, Span, fit, fit_middle
from perfguard_tui.marks import STATE_GLYPHS, STATE_ROLES, sparkline, verdict_mark
from perfguard_tui.views import CaseView


@dataclass(frozen=True, slots=True)
class Columns:
    """How many cells each column has; 0 leaves it out."""

    name: int
    metric: int
    n: int
    median: int
    change: int
    verdict: int
    trend: int


def columns_for(width: int) -> Columns:
    """The columns that `width` cells have room for; the name takes what the others leave."""
    metric = 14 if width >= 130 else 0
    n = 5 if width >= 78 else 0
    median = 16 if width >= 78 else 10
    change = 22 if width >= 78 else 8
    trend = 0 if width < 100 else min(24, 10 + (width - 100) // 4)
    fixed = 3 + sum(size + 1 for size in (metric, n, median, change, 9, trend) if size)
    return Columns(max(4, width - fixed), metric, n, median, change, 9, trend)


def header(columns: Columns) -> Line:
    """The names of the columns."""
    cells = [
        fit("   case", columns.name + 3),
        fit("metric", columns.metric),
        fit("n", columns.n, right=True),
        fit("median", columns.median, right=True),
        fit("change" if columns.change < 12 else "change [interval]", columns.change, right=True),
        fit("verdict", columns.verdict),
        fit("samples", columns.trend),
    ]
    return ((" ".join(cell for cell in cells if cell), "header"),)


def row(case: CaseView, columns: Columns) -> Line:
    """One case."""
    glyph = STATE_GLYPHS[case.state]
    metric = case.headline
    spans: list[Span] = [(f" {glyph} ", STATE_ROLES[case.state]), *_name(case, columns.name)]
    n, median = _figures(case, metric)
    change, change_role = _change(metric, columns.change)
    spans += _cell(metric.name if metric else "", columns.metric, "dim")
    spans += _cell(n, columns.n, "dim", right=True)
    spans += _cell(median, columns.median, "text", right=True)
    spans += _cell(change, columns.change, change_role, right=True)
    spans += _verdict(case, columns.verdict)
    if columns.trend:
        spans += [(" ", "text"), (fit(sparkline(_samples(case, metric), columns.trend), columns.trend), "spark")]
    return tuple(spans)


def _cell(text: str, width: int, role: str, *, right: bool = False) -> list[Span]:
    return [(" " + fit(text, width, right=right), role)] if width else []


def _name(case: CaseView, width: int) -> list[Span]:
    name = case.name.removeprefix("test_")  # said by every row, it would only push out what differs
    suite = f"{case.suite.rpartition('.')[2]}/" if case.suite and width >= 40 else ""
    room = width - len(suite)
    role = "dim" if case.state == "planned" else "bold" if case.state == "running" else "text"
    if room < 16:
        return [(fit_middle(name, width), role)]
    return [(fit(suite, len(suite)), "dim"), (fit_middle(name, room), role)]


def _figures(case: CaseView, metric: Metric | None) -> tuple[str, str]:
    """How many samples, and their median with its interval; while it runs, of the samples so far."""
    if metric is None:
        series = case.series[0] if case.series else None
        if series is None or not series.n:
            return "", ""
        return str(series.n), format_value(series.median, "s")
    median = format_value(metric.median, metric.unit, metric.kind)
    if metric.n > 1 and metric.median:
        half = (metric.ci[1] - metric.ci[0]) / 2 / abs(metric.median)
        return str(metric.n), f"{median} ±{half:.1%}" if half < 0.0995 else f"{median} ±{half:.0%}"
    return str(metric.n), median


def _change(metric: Metric | None, width: int) -> tuple[str, str]:
    if metric is None or metric.change is None:
        return "", "dim"
    change = format_change(metric.change.ratio).replace(" %", "%")
    role = "dim" if metric.verdict in (None, "same") else str(metric.verdict)
    if width < 12:
        return change, role
    low, high = (format_change(end).replace(" %", "") for end in metric.change.ci)
    return f"{change} [{low}, {high}]", role


def _verdict(case: CaseView, width: int) -> list[Span]:
    if case.verdict is not None:
        return _cell(verdict_mark(case.verdict), width, case.verdict)
    if case.state == "running":
        return _cell(case.stage or "running", width, "accent")
    return _cell("skipped" if case.state == "skipped" else "", width, "dim")


def _samples(case: CaseView, metric: Metric | None) -> tuple[float, ...]:
    wanted = next((series for series in case.series if metric is None or series.metric == metric.name), None)
    if wanted is not None:
        return wanted.recent
    return metric.samples if metric is not None and metric.n > 1 else ()
