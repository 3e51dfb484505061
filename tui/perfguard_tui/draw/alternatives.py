"""Alternatives that a case measured against each other, as bars on one scale."""

from __future__ import annotations

from perfguard.units import format_value
from perfguard_tui.lines import Line, fit, fit_middle
from perfguard_tui.marks import bar
from perfguard_tui.views import CaseView

_SUFFIX = "_time"


def draw_alternatives(case: CaseView, width: int) -> list[Line]:
    """One bar for each of a comparison's times, shortest first; nothing if there are not at least two."""
    medians = {series.metric: series.median for series in case.series if series.n}
    medians |= {metric.name: metric.median for metric in case.metrics if metric.kind == "time"}
    times = {name.removesuffix(_SUFFIX): s for name, s in medians.items() if name.endswith(_SUFFIX)}
    longest, shortest = max(times.values(), default=0.0), min(times.values(), default=0.0)
    if len(times) < 2 or shortest <= 0:
        return []
    name_width = max(13, min(28, max(map(len, times)) + 1, width // 3))
    bar_width = max(4, width - name_width - 22)
    head = f" {fit('alternative', name_width)}{fit('median', 10, right=True)}{fit('times', 8, right=True)}"
    lines: list[Line] = [((head, "header"),)]
    for name, median_s in sorted(times.items(), key=lambda item: item[1]):
        factor = f"{median_s / shortest:.3g} x"
        lines.append(
            (
                (" " + fit_middle(name, name_width), "text"),
                (fit(format_value(median_s, "s"), 10, right=True), "text"),
                (fit(factor, 8, right=True) + "  ", "dim"),
                (bar(median_s / longest, bar_width), "bar"),
            )
        )
    return lines
