"""How a case's samples are spread: histogram and ECDF, over the baseline's where the baseline has samples."""

from __future__ import annotations

import numpy as np

from perfguard.units import format_value
from perfguard_tui.draw.chart import LABEL, Axes, Curve, Look, draw_chart
from perfguard_tui.lines import Line, fit, line, spread
from perfguard_tui.marks import bar
from perfguard_tui.points import Floats

_NONE = np.empty(0)


def draw_histogram(
    now: Floats,
    before: Floats,
    width: int,
    height: int,
    *,
    unit: str,
    kind: str,
    medians: tuple[float, ...] = (),
    log: bool = False,
) -> list[Line]:
    """Two bars a bin: now, and below it before; `medians` of the baseline's process runs as marks at their bins."""
    if len(now) < 2:
        return [((" histogram: fewer than two samples", "dim"),)]
    both = np.concatenate([now, before, np.array(medians)])
    low, high = float(both.min()), float(both.max())
    if high <= low:
        return [
            line((" histogram: ", "header"), (f"all {len(now)} samples are {format_value(low, unit, kind)}", "text"))
        ]
    bins = max(4, min(height - 1, 24))
    edges = np.geomspace(low, high, bins + 1) if log and low > 0 else np.linspace(low, high, bins + 1)
    counts, counts_before = (np.histogram(values, edges)[0] for values in (now, before))
    marks = np.histogram(np.array(medians), edges)[0] if medians else np.zeros(bins, dtype=int)
    shares, shares_before = counts / max(1, len(now)), counts_before / max(1, len(before))
    most = max(shares.max(), shares_before.max())
    room = max(6, width - LABEL - 16)
    legend = " █ now" + (f"  ▒ before, n={len(before)}" if len(before) else "")
    legend += "  ◆ baseline medians" if medians else ""
    lines: list[Line] = [spread([(f" histogram  n={len(now)}", "header")], [(f"{legend} ", "dim")], width)]
    for i in range(bins):
        drawn, drawn_before = bar(shares[i] / most, room), bar(shares_before[i] / most, room)
        rest = "▒" * max(0, len(drawn_before) - len(drawn))
        lines.append(
            line(
                (fit(format_value(float(edges[i]), unit, kind), LABEL, right=True), "dim"),
                ("│", "rule"),
                (drawn, "bar"),
                (rest, "unaccounted"),
                (f" {counts[i]}" if counts[i] else "", "dim"),
                (f"  {'◆' * min(8, int(marks[i]))}" if marks[i] else "", "new"),
            )
        )
    return lines


def draw_ecdf(
    now: Floats,
    before: Floats,
    width: int,
    height: int,
    *,
    unit: str,
    kind: str,
    medians: tuple[float, ...] = (),
) -> list[Line]:
    """Which share of the samples is at most so large; `before`'s curve, or that of the baseline's medians, behind."""
    if len(now) < 2:
        return []
    behind = before if len(before) > 1 else np.array(medians)
    everything = np.concatenate([now, behind])
    axes = Axes(float(everything.min()), float(everything.max()), 0.0, 1.0)
    if axes.x1 <= axes.x0:
        return []
    curves = [Curve(*_steps(behind, axes), "new")] if len(behind) > 1 else []
    curves.append(Curve(*_steps(now, axes), "spark"))
    what = "before" if len(before) > 1 else "baseline medians" if len(behind) > 1 else ""
    ends = (format_value(axes.x0, unit, kind), format_value(axes.x1, unit, kind))
    title = "share of samples at most so large" + (f" (green: {what})" if what else "")
    return draw_chart(curves, width, height, Look(title=title, unit="", kind="fraction", ends=ends))


def _steps(values: Floats, axes: Axes) -> tuple[Floats, Floats]:
    if not len(values):
        return _NONE, _NONE
    x = np.linspace(axes.x0, axes.x1, 600)
    return x, np.searchsorted(np.sort(values), x, side="right") / len(values)
