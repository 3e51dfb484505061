"""The chart of the live page: one case's samples in their order over the band of its baseline."""

from __future__ import annotations

from perfguard.document import Metric
from perfguard.units import format_value
from perfguard_tui.draw.chart import Curve, Look, draw_chart
from perfguard_tui.lines import Line
from perfguard_tui.views import CaseView, SeriesView


def draw_samples(case: CaseView | None, width: int, height: int, *, log: bool) -> list[Line]:
    """The headline's samples over time, their median as a line, the baseline's limits as a band."""
    if case is None:
        return [((" no case selected", "dim"),)]
    series, metric = headline_series(case)
    if series is None or series.points is None or not len(series.points[0]):
        return [((" no rounds yet" if case.state in ("planned", "running") else " no timed rounds", "dim"),)]
    t_s, _, value = series.points
    unit, kind = (metric.unit, metric.kind) if metric is not None else ("s", "time")
    thinned = f", {len(value)} shown with all outliers" if len(value) < series.n else ""
    title = f"{series.metric}: n={series.n}{thinned}, median {format_value(series.median, unit, kind)}"
    if band_of(metric) is not None:
        title += "  ░ baseline ± limit"
    ends = (f"{t_s[0]:.1f} s", f"{t_s[-1]:.1f} s")
    return draw_chart(
        [Curve(t_s, value)],
        width,
        height,
        Look(title=title, unit=unit, kind=kind, log=log, band=band_of(metric), level=series.median, ends=ends),
    )


def headline_series(case: CaseView) -> tuple[SeriesView | None, Metric | None]:
    """The series that a row stands for, and its metric if it has been reported."""
    metric = case.headline
    series = next((one for one in case.series if metric is not None and one.metric == metric.name), None)
    if series is None and case.series:
        series = case.series[0]
        metric = next((one for one in case.metrics if one.name == series.metric), None)
    return series, metric


def band_of(metric: Metric | None) -> tuple[float, float] | None:
    """What would be no change: the baseline's median, less and more the practical limit."""
    if metric is None or metric.baseline is None:
        return None
    median, limit = metric.baseline.median, metric.limit
    return (median * (1 - limit), median * (1 + limit)) if median > 0 else None
