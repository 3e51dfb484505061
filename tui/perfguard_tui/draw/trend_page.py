"""The history page over a store of runs: a metric's trend with its levels, each change with its range of commits."""

from __future__ import annotations

import numpy as np

from perfguard.document import Metric
from perfguard.history.model import ChangePoint, Trend
from perfguard.units import format_change, format_change_interval, format_interval, format_value
from perfguard_tui.draw.chart import Curve, Look, draw_chart
from perfguard_tui.draw.page import Drawn, joined, wrapped
from perfguard_tui.lines import Line, crop, line
from perfguard_tui.marks import verdict_mark
from perfguard_tui.past import Past, bisect_of, levels_of, runs_of_change
from perfguard_tui.points import Floats
from perfguard_tui.views import CaseView

_MOST_RUNS = 100


def draw_trend(
    case: CaseView, now: Metric | None, past: Past, cursor: int, width: int, height: int, *, log: bool, run_id: str
) -> Drawn:
    """A chart of medians in commit order with the levels between changes, the changes, the latest runs."""
    trend = past.trend
    assert trend is not None
    values = [point.value for point in trend.points]
    shown_now = now is not None and now.median > 0 and all(point.run != run_id for point in trend.points)
    if shown_now and now is not None:
        values.append(now.median)
    chart = _chart(case, trend, past.changes, np.array(values), width, max(8, height * 2 // 5), log=log)
    head, first = _changes(case, past.changes, cursor, width)
    lines = joined(chart, head, _runs(trend, past.changes, width))
    return Drawn(lines, (), len(chart) + 1 + first if first is not None and chart else None)


def _chart(
    case: CaseView,
    trend: Trend,
    changes: tuple[ChangePoint, ...],
    values: Floats,
    width: int,
    height: int,
    *,
    log: bool,
) -> list[Line]:
    at = np.arange(len(values), dtype=np.float64)
    curves = []
    for first, last, level in levels_of(trend, changes):
        x = np.linspace(first, max(last, first + 0.5), 4 * width)
        curves.append(Curve(x, np.full(len(x), level), "new"))
    for change in changes:
        place = runs_of_change(trend, change)
        if place:
            y = np.linspace(
                min(change.level_before, change.level_after), max(change.level_before, change.level_after), 60
            )
            curves.append(Curve(np.full(len(y), place - 0.5), y, "slower" if change.is_worse else "faster"))
    curves.append(_dots(at, values, width, height))
    here = " and this run" if len(values) > len(trend.points) else ""
    title = f"{trend.metric} of {case.name}: {len(trend.points)} runs on {trend.machine_class}{here}"
    first_day = trend.points[0].started[:10] if trend.points else ""
    last_day = "this run" if here else trend.points[-1].started[:10] if trend.points else ""
    return draw_chart(
        curves,
        width - 1,
        height,
        Look(title=title, unit=trend.unit, kind=trend.kind, log=log, ends=(first_day, last_day)),
    )


def _dots(at: Floats, values: Floats, width: int, height: int) -> Curve:
    """A point for each run, two dots wide and high as long as there is room between them."""
    if len(at) * 4 > width:
        return Curve(at, values, "spark")
    right, up = float(np.ptp(at)) / (2 * width), float(np.ptp(values)) / (4 * height)
    corners = [(0.0, 0.0), (right, 0.0), (0.0, up), (right, up)]
    x, y = (np.concatenate([column + by[axis] for by in corners]) for axis, column in enumerate((at, values)))
    return Curve(x, y, "spark")


def _changes(
    case: CaseView, changes: tuple[ChangePoint, ...], cursor: int, width: int
) -> tuple[list[Line], int | None]:
    """The change points, and which of the lines is the chosen one's."""
    lines: list[Line] = [((" change points", "header"),)]
    if not changes:
        lines.append(((" none: the figures stay on one level, or are too few to tell", "dim"),))
        return lines, None
    cursor = max(0, min(len(changes) - 1, cursor))
    for change in changes:
        role = "slower" if change.is_worse else "faster"
        told = (
            f"{format_change(change.magnitude)} {format_change_interval((change.low, change.high))}  "
            f"{format_value(change.level_before, change.unit, change.kind)} → "
            f"{format_value(change.level_after, change.unit, change.kind)}"
        )
        where = f"  in {change.before[:10] or '?'}..{change.after[:10] or '?'}  {change.at_started[:10]}"
        sure = f"  {change.confidence:.2%} sure, {change.runs_after} runs since"
        mark = (f" {verdict_mark('slower' if change.is_worse else 'faster')}  ", role)
        lines.append(crop(line(mark, (told, "text"), (where, "bold"), (sure, "dim")), width))
    chosen = changes[cursor]
    lines += wrapped(f"j k choose one; y copies: {bisect_of(chosen, case.id)}", width, "dim")
    return lines, 1 + cursor


def _runs(trend: Trend, changes: tuple[ChangePoint, ...], width: int) -> list[Line]:
    begin = {change.at_run: "slower" if change.is_worse else "faster" for change in changes}
    lines: list[Line] = [((f" {'started':<18}{'commit':<14}{'n':>6}{'median':>12}  verdict   interval", "header"),)]
    for point in trend.points[::-1][:_MOST_RUNS]:
        mark = ("◆", begin[point.run]) if point.run in begin else (" ", "text")
        verdict = f"{verdict_mark(point.verdict):<9}" if point.verdict else " " * 9
        interval = format_interval(point.low, point.high, trend.unit, trend.kind) if point.n > 1 else ""
        median = format_value(point.value, trend.unit, trend.kind)
        told = f"{point.started[:16]:<18}{point.commit[:12]:<14}{point.n:>6}{median:>12}  "
        lines.append(
            crop(line(mark, (told, "text"), (verdict, point.verdict or "text"), (f" {interval}", "dim")), width)
        )
    return lines
