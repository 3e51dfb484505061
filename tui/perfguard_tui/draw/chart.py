"""Charts out of braille dots, two by four to a cell: samples, their median, and the baseline's band behind them.

However many points come, a column of dots shows its smallest and its largest; what lies between them is not drawn.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfguard.units import format_value
from perfguard_tui.lines import Line, Span, fit, spread
from perfguard_tui.points import Floats

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)
_SIGNS = np.array([chr(0x2800 + bits) for bits in range(256)])
LABEL = 10


@dataclass(frozen=True, slots=True)
class Axes:
    """The part of the plane that is shown. `log`: the vertical axis is logarithmic (then both ends are positive)."""

    x0: float
    x1: float
    y0: float
    y1: float
    log: bool = False

    def height_of(self, y: Floats) -> Floats:
        """Where on the vertical axis, 0 the bottom and 1 the top."""
        low, high = self.y0, self.y1
        if self.log:
            y, low, high = np.log(np.maximum(y, self.y0)), math.log(self.y0), math.log(self.y1)
        return (y - low) / (high - low)


def axes_of(x: Floats, y: Floats, *, log: bool, also: tuple[float, ...] = ()) -> Axes:
    """Axes that hold all points and the figures in `also`, with a little room above and below."""
    low = min(float(y.min()), *also) if also else float(y.min())
    high = max(float(y.max()), *also) if also else float(y.max())
    log = log and low > 0
    if log:
        factor = max((high / low) ** 0.05, 1.02)
        low, high = low / factor, high * factor
    else:
        room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
    x0, x1 = float(x.min()), float(x.max())
    return Axes(x0, x1 if x1 > x0 else x0 + 1.0, low, high, log)


def decimated(x: Floats, y: Floats, axes: Axes, columns: int) -> tuple[Floats, Floats]:
    """The smallest and largest value of each of `columns` columns, if there are more points than that."""
    if len(x) <= 4 * columns:
        return x, y
    column = np.clip(((x - axes.x0) / (axes.x1 - axes.x0) * columns).astype(np.int64), 0, columns - 1)
    order = np.lexsort((y, column))
    edges = np.flatnonzero(np.diff(column[order])) + 1
    kept = order[np.concatenate([[0], edges, edges - 1, [len(order) - 1]])]
    return x[kept], y[kept]


def raster(x: Floats, y: Floats, axes: Axes, width: int, height: int) -> NDArray[np.uint8]:
    """`height` rows of `width` cells of braille bits, the top row first; points outside the axes are left out."""
    cells = np.zeros((height, width), dtype=np.uint8)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = decimated(x[finite], y[finite], axes, 2 * width)
    across = (x - axes.x0) / (axes.x1 - axes.x0)
    up = axes.height_of(y)
    inside = (across >= 0) & (across <= 1) & (up >= 0) & (up <= 1)
    column = np.minimum((across[inside] * 2 * width).astype(np.int64), 2 * width - 1)
    row = np.minimum(((1 - up[inside]) * 4 * height).astype(np.int64), 4 * height - 1)
    np.bitwise_or.at(cells, (row // 4, column // 2), _DOTS[row % 4, column % 2])
    return cells


@dataclass(frozen=True, slots=True)
class Curve:
    """Points and the role they are drawn in."""

    x: Floats
    y: Floats
    role: str = "spark"


def draw_plane(
    curves: list[Curve],
    axes: Axes,
    width: int,
    height: int,
    *,
    band: tuple[float, float] | None = None,
    level: float | None = None,
) -> list[list[Span]]:
    """The cells alone, without labels; later curves lie above earlier ones."""
    characters = np.full((height, width), " ", dtype="<U1")
    roles = np.full((height, width), 0, dtype=np.int64)
    names = ["text", "band", "accent", *(curve.role for curve in curves)]
    if band is not None:
        top, bottom = (_row(end, axes, height) for end in (max(band), min(band)))
        if bottom >= 0 and top < height:
            characters[max(0, top) : bottom + 1], roles[max(0, top) : bottom + 1] = "░", 1
    if level is not None and 0 <= (at := _row(level, axes, height)) < height:
        characters[at], roles[at] = "─", 2
    for number, curve in enumerate(curves):
        cells = raster(curve.x, curve.y, axes, width, height)
        drawn = cells > 0
        characters[drawn] = _SIGNS[cells[drawn]]
        roles[drawn] = 3 + number
    return [_spans("".join(characters[row]), roles[row], names) for row in range(height)]


@dataclass(frozen=True, slots=True)
class Look:
    """How a chart is labelled: `band` and `level` lie behind the points; `ends` stand below its two ends."""

    title: str
    unit: str = "s"
    kind: str = "time"
    log: bool = False
    band: tuple[float, float] | None = None
    level: float | None = None
    ends: tuple[str, str] = ("", "")


def draw_chart(curves: list[Curve], width: int, height: int, look: Look) -> list[Line]:
    """A title, the plane with its figures at the left, and what stands below its two ends."""
    shown = [curve for curve in curves if len(curve.x)]
    if not shown or width < LABEL + 8 or height < 4:
        return [((f" {look.title}: no samples yet", "dim"),)]
    also = tuple(float(one) for one in (*(look.band or ()), *([] if look.level is None else [look.level])))
    x, y = (np.concatenate([getattr(curve, name) for curve in shown]) for name in ("x", "y"))
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        return [((f" {look.title}: no finite samples", "dim"),)]
    axes = axes_of(x[finite], y[finite], log=look.log, also=also)
    rows = height - 2
    plane = draw_plane(shown, axes, width - LABEL - 2, rows, band=look.band, level=look.level)
    lines: list[Line] = [spread([(f" {look.title}", "header")], [("log axis " if axes.log else "", "dim")], width)]
    for number, spans in enumerate(plane):
        label = ""
        if number in (0, rows // 2, rows - 1):
            label = format_value(_value_at(number, axes, rows), look.unit, look.kind)
        lines.append(((fit(label, LABEL, right=True), "dim"), ("│", "rule"), *spans))
    lines.append(spread([(" " * (LABEL + 1) + look.ends[0], "dim")], [(f"{look.ends[1]} ", "dim")], width))
    return lines


def _row(y: float, axes: Axes, height: int) -> int:
    up = float(axes.height_of(np.array([y]))[0])
    return int((1 - up) * height) if up < 1 else -1 if up > 1 else 0


def _value_at(row: int, axes: Axes, rows: int) -> float:
    up = 1 - (row + 0.5) / rows
    if axes.log:
        return math.exp(math.log(axes.y0) + up * (math.log(axes.y1) - math.log(axes.y0)))
    return axes.y0 + up * (axes.y1 - axes.y0)


def _spans(text: str, roles: NDArray[np.int64], names: list[str]) -> list[Span]:
    edges = [0, *(np.flatnonzero(np.diff(roles)) + 1).tolist(), len(text)]
    return [(text[a:b], names[roles[a]]) for a, b in itertools.pairwise(edges) if b > a]
