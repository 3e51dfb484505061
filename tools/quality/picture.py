"""Draw the two error rates of each method from docs/quality.json: false alarms beside slowdowns found, with intervals.

`make reference` writes it to docs/pictures/quality.svg.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WIDTH, ROW, TOP, LABEL = 960, 44, 74, 250
PANELS = (
    ("false_alarm_case", "false alarms, of unchanged cases", "#d55e00", 270),
    ("detect_5", "slowdowns of 5 % found", "#0072b2", 600),
)
SPAN = 240  # pixels of 100 %


def picture(found: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """An SVG with a row for each method of `names` (key -> label)."""
    height = TOP + ROW * len(names) + 40
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'{head} font-family="DejaVu Sans, Verdana, sans-serif" font-size="13">',
        "<title>False alarms and slowdowns found, by method, each with its 95 % interval</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for column, title, colour, left in PANELS:
        parts.append(f'<text x="{left}" y="34" font-weight="bold" fill="{colour}">{title}</text>')
        for percent in (0, 50, 100):
            x = left + SPAN * percent / 100
            parts.append(f'<line x1="{x}" y1="{TOP - 22}" x2="{x}" y2="{height - 34}" stroke="#dddddd"/>')
            parts.append(f'<text x="{x}" y="{height - 16}" text-anchor="middle" fill="#666666">{percent} %</text>')
        for row, name in enumerate(names):
            parts += _bar(found[name][column], colour, left, TOP + ROW * row)
    for row, label in enumerate(names.values()):
        weight = ' font-weight="bold"' if row < 2 else ""
        parts.append(
            f'<text x="{LABEL}" y="{TOP + ROW * row + 5}" text-anchor="end" fill="#222222"{weight}>{label}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(rate: Mapping[str, Any], colour: str, left: float, y: float) -> Iterator[str]:
    low, high = (left + SPAN * bound for bound in rate["interval"])
    yield f'<rect x="{left}" y="{y - 9}" width="{SPAN * rate["rate"]:.1f}" height="18" fill="{colour}" opacity="0.75"/>'
    yield f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="#222222" stroke-width="1.5"/>'
    for x in (low, high):
        yield f'<line x1="{x:.1f}" y1="{y - 4}" x2="{x:.1f}" y2="{y + 4}" stroke="#222222" stroke-width="1.5"/>'
    text = f"{100 * rate['rate']:.3g} % of {rate['n']}"
    yield f'<text x="{high + 7:.1f}" y="{y + 4}" fill="#444444" font-size="11">{text}</text>'
