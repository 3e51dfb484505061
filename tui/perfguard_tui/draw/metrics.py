"""The metrics of a case: figure, interval, baseline, change and verdict of each; and the notes."""

from __future__ import annotations

import textwrap

from perfguard.document import Metric
from perfguard.units import format_change, format_change_interval, format_interval, format_value
from perfguard_tui.lines import Line, clean, crop, line, spread, width_of
from perfguard_tui.marks import sparkline, verdict_mark
from perfguard_tui.views import CaseView, SeriesView


def draw_metrics(case: CaseView, width: int) -> list[Line]:
    """Three lines for each metric, or the running figures while there is none."""
    series = {one.metric: one for one in case.series}
    lines: list[Line] = [((" metrics", "header"),)]
    for metric in case.metrics:
        lines += _metric(metric, series.get(metric.name), width)
    for one in case.series:
        if one.metric not in {metric.name for metric in case.metrics}:
            lines += _running(one, width)
    if len(lines) == 1:
        lines.append(((" nothing measured" if case.state != "planned" else " not measured yet", "dim"),))
    return lines


def draw_notes(case: CaseView, width: int) -> list[Line]:
    """The notes, wrapped; nothing if there are none."""
    if not case.notes:
        return []
    lines: list[Line] = [((" notes", "header"),)]
    for note in case.notes:
        for paragraph in note.splitlines()[:20]:
            wrapped = textwrap.wrap(clean(paragraph), max(10, width - 4)) or [""]
            lines += [line(("   " if i else " · ", "dim"), (part, "text")) for i, part in enumerate(wrapped)]
    return lines


def _metric(metric: Metric, series: SeriesView | None, width: int) -> list[Line]:
    verdict = metric.verdict or ""
    mark = (f"{verdict_mark(verdict)} ", verdict) if verdict else ("measured ", "dim")
    gated = "" if metric.gated else " (not gated)"
    value = format_value(metric.median, metric.unit, metric.kind)
    figure = line((f"   {value}", "bold"))
    if metric.n > 1:
        interval = format_interval(*metric.ci, metric.unit, metric.kind)
        figure = (
            *figure,
            *line(
                (f"  {interval} at {format_value(metric.confidence, '', 'fraction')}", "text"),
                (f"  n={metric.n}", "dim"),
            ),
        )
    lines = [spread([(f" {metric.name}", "bold"), (gated, "dim")], [mark], width), crop(figure, width)]
    if metric.change is not None and metric.baseline is not None:
        before = format_value(metric.baseline.median, metric.unit, metric.kind)
        limit = f"limit {format_value(metric.limit, '', 'fraction')}" if metric.limit else "exact"
        change = f"{format_change(metric.change.ratio)} {format_change_interval(metric.change.ci)}"
        against = f"{limit}, {metric.baseline.process_runs} process runs"
        judged = line((f"   was {before}  ", "text"), (change, verdict or "text"))
        if width_of(judged) + len(against) + 2 <= width:
            lines.append((*judged, (f"  {against}", "dim")))
        else:
            lines += [crop(judged, width), line((f"   {against}", "dim"))]
    samples = series.recent if series is not None else metric.samples
    if len(samples) > 1:
        lines.append(_spark(samples, metric.unit, metric.kind, width))
    return lines


def _running(series: SeriesView, width: int) -> list[Line]:
    count = f"n={series.n}" + (f"  warm-up {series.warmup}" if series.warmup else "")
    lines = [spread([(f" {series.metric}", "bold")], [(f"{count} ", "dim")], width)]
    if series.recent:
        lines.append(line((f"   {format_value(series.median, 's')}", "bold"), ("  so far", "dim")))
        lines.append(_spark(series.recent, "s", "time", width))
    return lines


def _spark(samples: tuple[float, ...], unit: str, kind: str, width: int) -> Line:
    ends = f" {format_value(min(samples), unit, kind)} … {format_value(max(samples), unit, kind)}"
    room = min(60, width - 3 - len(ends) - 1)
    return line(("   ", "text"), (sparkline(samples, room), "spark"), (ends, "dim"))
