"""A picture of streaming: what was read and computed when, drawn from a run's trace as one SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from perfguard.pictures import MAX_BARS, Bar, Lanes
from perfguard_suites.weight_streaming.trace import Stretch, Trace

WIDTH, LEFT, ROW, GAP, TOP = 1120, 150, 26, 8, 34
COLOURS = {"weight_load": "#3b7dd8", "compute": "#3f9b57", "weight_wait": "#d9534f"}
LABELS = {"weight_load": "load", "compute": "compute", "weight_wait": "wait"}
MIN_WIDTH = 0.4


@dataclass(frozen=True, slots=True)
class Panel:
    """One run: its caption and its trace."""

    caption: str
    trace: Trace


def timeline_svg(panels: Sequence[Panel]) -> str:
    """The panels below each other on one scale of time, each from its first pass on."""
    span_ns = max(panel.trace.end_ns - panel.trace.begin_ns for panel in panels)
    scale = (WIDTH - LEFT - 20) / span_ns
    parts, y = [], 12
    for panel in panels:
        drawn, height = _panel(panel, y, scale)
        parts += drawn
        y += height
    ticks = _axis(span_ns, scale, y)
    height = y + 40
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join(
        [
            head,
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *parts,
            *ticks,
            "</svg>\n",
        ]
    )


def lanes_of(trace: Trace, title: str) -> Lanes:
    """The last pass of a trace as data for a run document: what was read on which lane, what computed, what waited."""
    kinds = {"load": trace.loads, "compute": trace.computes, "wait": trace.waits}
    names: dict[str, int] = {}
    bars: list[Bar] = []
    begin_ns = next((each.start_ns for each in reversed(trace.computes) if each.layer == 0), trace.begin_ns)
    for kind, stretches in kinds.items():
        for each in stretches:
            lane = names.setdefault(each.lane or "load" if kind == "load" else kind, len(names))
            if each.end_ns > begin_ns and len(bars) < MAX_BARS:
                start_s, end_s = ((at - begin_ns) / 1e9 for at in (max(begin_ns, each.start_ns), each.end_ns))
                bars.append(Bar(lane, start_s, end_s, str(each.layer), kind))
    return Lanes(title, tuple(names), tuple(bars))


def _panel(panel: Panel, y: int, scale: float) -> tuple[list[str], int]:
    trace = panel.trace
    lanes: list[tuple[str, str, Sequence[Stretch]]] = [
        (lane or "loads", "weight_load", [load for load in trace.loads if load.lane == lane])
        for lane in sorted({load.lane for load in trace.loads})
    ]
    lanes.append(("compute", "compute", trace.computes))
    lanes.append(("", "weight_wait", trace.waits))
    parts = [f'<text x="12" y="{y + 14}" font-weight="bold" fill="#222">{escape(panel.caption)}</text>']
    row = y + TOP - 8
    for name, kind, stretches in lanes:
        if kind == "weight_wait":
            row -= ROW + GAP  # in the lane of the compute, which it interrupts
        else:
            parts.append(f'<text x="{LEFT - 10}" y="{row + 17}" text-anchor="end" fill="#444">{escape(name)}</text>')
        parts += [_bar(each, kind, trace.begin_ns, row, scale) for each in stretches if each.end_ns > each.start_ns]
        row += ROW + GAP
    return parts, row - y + 12


def _bar(stretch: Stretch, kind: str, begin_ns: int, row: int, scale: float) -> str:
    x = LEFT + (stretch.start_ns - begin_ns) * scale
    width = max(MIN_WIDTH, (stretch.end_ns - stretch.start_ns) * scale)
    milliseconds = (stretch.end_ns - stretch.start_ns) / 1e6
    text = ""
    if width > 16 and kind != "weight_wait":
        text = (
            f'<text x="{x + width / 2:.1f}" y="{row + 17}" text-anchor="middle" font-size="11" fill="#fff">'
            f"{stretch.layer}</text>"
        )
    return (
        f"<g><title>layer {stretch.layer}: {LABELS[kind]}, {milliseconds:.2f} ms</title>"
        f'<rect x="{x:.2f}" y="{row}" width="{width:.2f}" height="{ROW}" fill="{COLOURS[kind]}" '
        f'stroke="#fff" stroke-width="0.5"/>{text}</g>'
    )


def _axis(span_ns: int, scale: float, y: int) -> list[str]:
    step_ms = next((step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if span_ns / 1e6 / step <= 14), 2000)
    parts = [f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - 20}" y2="{y}" stroke="#888"/>']
    for tick in range(0, int(span_ns / 1e6) + 1, step_ms):
        x = LEFT + tick * 1e6 * scale
        parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + 5}" stroke="#888"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 18}" text-anchor="middle" font-size="11" fill="#444">{tick} ms</text>')
    x = 12
    for kind, colour in COLOURS.items():
        parts.append(f'<rect x="{x}" y="{y + 22}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="{y + 32}" font-size="12" fill="#222">{LABELS[kind]}</text>')
        x += 80
    return parts
