"""A trend in a terminal: braille dots, eight to a character cell, with the steps marked below. Nothing is printed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from perfguard.history.model import ChangePoint, Trend
from perfguard.units import format_change, format_value

HEIGHT = 10
NARROWEST = 20
_BRAILLE = 0x2800
# The bit of each dot of a cell, by row and column.
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_ROWS, _COLUMNS = 4, 2
# How far, in widths of the middle nine tenths, points may lie out before they are drawn at the edge.
_REACH = 0.5


def plot(
    trend: Trend, changes: Sequence[ChangePoint], width: int, height: int = HEIGHT, *, ascii_only: bool = False
) -> str:
    """The trend as `height` lines of at most `width` columns, with an axis and a mark under each step.

    Points that lie far outside are drawn at the edge, so that one outlier does not flatten the rest. "" for no points.
    """
    values = [point.value for point in trend.points]
    if not values:
        return ""
    low, high = _limits(values)
    shown = {row: high - (high - low) * row / (height - 1) for row in (0, height // 2, height - 1)}
    ticks = {row: format_value(value, trend.unit, trend.kind) for row, value in shown.items()}
    margin = max(map(len, ticks.values())) + 1
    columns = max(NARROWEST, width - margin - 1)
    columns = min(columns, max(NARROWEST, len(values)))
    cells = _cells(values, low, high, columns, height)
    lines = [
        f"{ticks.get(row, ''):>{margin}}{_edge(row in ticks, ascii_only=ascii_only)}"
        + "".join(_character(bits, ascii_only=ascii_only) for bits in cells[row]).rstrip()
        for row in range(height)
    ]
    lines += [" " * (margin + 1) + line for line in _marks(trend, changes, columns, ascii_only=ascii_only)]
    return "\n".join(lines)


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as one line of blocks, each the median of its share of them."""
    if not values:
        return ""
    width = min(width, len(values))
    medians = []
    for column in range(width):
        share = sorted(values[column * len(values) // width : (column + 1) * len(values) // width])
        medians.append(share[len(share) // 2])
    low, high = min(medians), max(medians)
    blocks = "▁▂▃▄▅▆▇█"
    return "".join(blocks[0 if high == low else round(7 * (value - low) / (high - low))] for value in medians)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """What the axis shows: all values, unless some lie far out; never nothing."""
    ordered = sorted(values)
    near, far = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
    reach = _REACH * (far - near)
    low, high = max(ordered[0], near - reach), min(ordered[-1], far + reach)
    if low == high:
        around = abs(low) * 0.01 or 1.0
        return low - around, high + around
    return low, high


def _cells(values: Sequence[float], low: float, high: float, columns: int, height: int) -> list[list[int]]:
    cells = [[0] * columns for _ in range(height)]
    across, down = _COLUMNS * columns - 1, _ROWS * height - 1
    for index, value in enumerate(values):
        x = round(across * index / max(1, len(values) - 1))
        y = round(down * (high - min(max(value, low), high)) / (high - low))
        cells[y // _ROWS][x // _COLUMNS] |= _BITS[y % _ROWS][x % _COLUMNS]
    return cells


def _character(bits: int, *, ascii_only: bool) -> str:
    if not bits:
        return " "
    return "*" if ascii_only else chr(_BRAILLE + bits)


def _edge(tick: bool, *, ascii_only: bool) -> str:
    return ("+" if tick else "|") if ascii_only else ("┤" if tick else "│")


def _marks(trend: Trend, changes: Sequence[ChangePoint], columns: int, *, ascii_only: bool) -> list[str]:
    """The axis with the steps on it, and how large each is, on as many lines as they need."""
    line = ["-" if ascii_only else "─"] * columns
    place = {point.run: index for index, point in enumerate(trend.points)}
    labels: list[list[tuple[int, str]]] = []
    for change in sorted((c for c in changes if c.at_run in place), key=lambda c: place[c.at_run]):
        at = math.floor((columns - 1) * place[change.at_run] / max(1, len(trend.points) - 1))
        up = change.magnitude > 1
        line[at] = ("^" if up else "v") if ascii_only else ("▲" if up else "▼")
        text = format_change(change.magnitude)
        start = max(0, min(at, columns - len(text)))
        row = next((row for row in labels if row[-1][0] + len(row[-1][1]) < start), None)
        if row is None:
            labels.append([(start, text)])
        else:
            row.append((start, text))
    return ["".join(line), *(_row(row) for row in labels)]


def _row(labels: Sequence[tuple[int, str]]) -> str:
    text = ""
    for start, label in labels:
        text = text.ljust(start) + label
    return text
