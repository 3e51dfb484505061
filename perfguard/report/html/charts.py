"""The page's pictures, as SVG made of numbers: distributions, changes, accounts, waterfalls, trends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from perfguard.document import Account, Change, Metric
from perfguard.report.html.svg import Markup, circle, label, line, picture, polygon, polyline, rect
from perfguard.report.source import Trend
from perfguard.report.timeline import TimedSpan, lanes
from perfguard.report.words import evidence, one_line
from perfguard.units import format_change, format_value

WIDTH, HEIGHT = 460, 170
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 12, 34
MOST_POINTS = 120
MOST_BARS = 60
COLOURS = 8
ROW = 18
BAR_HEIGHT = 22


def distribution(metric: Metric) -> Markup | None:
    """The share of samples below each value, beside the medians of the baseline's process runs; None for one sample.

    The axis reaches from the 1st to the 99th hundredth of the samples, but no further than three times the distance of
    the quartiles beyond them: what a busy machine made of a few samples would flatten the rest.
    """
    now = sorted(metric.samples)
    if len(now) < 2:
        return None
    before = sorted(metric.baseline.medians) if metric.baseline is not None else []
    if metric.baseline is not None and not before:
        before = [metric.baseline.median]
    inner = _inner(now)
    x = _Axis(min([*inner, *before]), max([*inner, *before]), LEFT, WIDTH - RIGHT)
    parts = list(_frame(x, metric))
    beyond = sum(value < x.low or value > x.high for value in now)
    if before:
        if len(before) > 1:
            parts.append(polyline(_steps(before, x), "before-line"))
        parts += [line(x(value), _y(0), x(value), _y(0) - 7, "before-tick") for value in before]
        middle = metric.baseline.median if metric.baseline is not None else before[0]
        parts.append(line(x(middle), _y(1), x(middle), _y(0), "before-median"))
    parts.append(polyline(_steps(now, x), "now-line"))
    parts.append(line(x(metric.median), _y(1), x(metric.median), _y(0), "now-median"))
    shown = format_value(metric.median, metric.unit, metric.kind)
    told = f"{metric.name}: {len(now)} samples, median {shown}"
    if before and metric.baseline is not None:
        told += f"; before: median {format_value(metric.baseline.median, metric.unit, metric.kind)} of "
        told += evidence(metric).removesuffix(" in the baseline")
    if beyond:
        parts.append(label(WIDTH - RIGHT, _y(0) - 6, f"{beyond} beyond the picture", "end", "small"))
    return picture(WIDTH, HEIGHT, told, parts, "chart")


def _inner(ordered: Sequence[float]) -> tuple[float, float]:
    low, first, third, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.01, 0.25, 0.75, 0.99))
    reach = 3 * (third - first)
    return max(low, first - reach), min(high, third + reach)


def _frame(x: _Axis, metric: Metric) -> Iterator[Markup]:
    for share in (0.0, 0.5, 1.0):
        yield line(LEFT, _y(share), WIDTH - RIGHT, _y(share), "grid")
        yield label(LEFT - 6, _y(share) + 4, f"{share:.0%}", "end", "small")
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        value = x.low + share * (x.high - x.low)
        where = LEFT + share * (WIDTH - RIGHT - LEFT)
        yield label(where, HEIGHT - 14, format_value(value, metric.unit, metric.kind), anchor, "small")


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _steps(values: Sequence[float], x: _Axis) -> list[tuple[float, float]]:
    """The empirical distribution's steps, thinned to `MOST_POINTS`, as far as they lie on the axis."""
    every = max(1, len(values) // MOST_POINTS)
    inside = [index for index, value in enumerate(values) if x.low <= value <= x.high]
    kept = sorted({index for index in inside if index % every == 0} | {*inside[:1], *inside[-1:]})
    points = [(x(values[kept[0]]), _y(kept[0] / len(values)))]
    for index in kept:
        points.append((x(values[index]), points[-1][1]))
        points.append((x(values[index]), _y((index + 1) / len(values))))
    return points


class _Axis:
    """From values to pixels, with some room at both ends."""

    def __init__(self, low: float, high: float, left: float, right: float) -> None:
        room = 0.03 * (high - low) or abs(high) * 0.05 or 1.0
        self.low, self.high = low - room if low < 0 else max(0.0, low - room), high + room
        self.left, self.right = left, right

    def __call__(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return self.left + (inside - self.low) / (self.high - self.low) * (self.right - self.left)


def change(metric: Metric, found: Change) -> Markup:
    """The change with its interval on an axis of ratios; the band is what the limit lets pass."""
    low, high = found.ci
    limit = metric.limit
    reach = [1 / (1 + limit) if limit else 1.0, 1 + limit, found.ratio, min(max(low, 0.2), 5.0), min(max(high, 0.2), 5)]
    x = _Axis(min([0.95, *reach]), max([1.05, *reach]), LEFT, WIDTH - RIGHT)
    middle = 24
    verdict = metric.verdict or "same"
    parts = [
        rect(x(1 / (1 + limit)), 8, x(1 + limit) - x(1 / (1 + limit)), 32, "band"),
        line(x(1), 4, x(1), 44, "grid strong"),
        line(LEFT, middle, WIDTH - RIGHT, middle, "grid"),
        line(x(low), middle, x(high), middle, f"interval v-{verdict}"),
        circle(x(found.ratio), middle, 5, f"dot v-{verdict}"),
        label(x(1), 58, "no change", "middle", "small"),
    ]
    if abs(x(found.ratio) - x(1)) > 70:
        parts.append(label(x(found.ratio), 58, format_change(found.ratio), "middle", "small"))
    told = f"{format_change(found.ratio)}, between {format_change(low)} and {format_change(high)}; limit {limit:.0%}"
    return picture(WIDTH, 64, told, parts, "chart")


def share_bar(share: float, largest: float) -> Markup:
    """One phase's part of a change, to the right if it took longer, to the left if it took less."""
    half, width = 90.0, 180
    length = 0.0 if largest <= 0 else min(1.0, abs(share) / largest) * half
    parts = [
        line(half, 0, half, 16, "grid strong"),
        rect(half if share >= 0 else half - length, 3, length, 10, "v-slower" if share >= 0 else "v-faster"),
    ]
    return picture(width, 16, f"{share:+.0%} of the change", parts)


def account_bar(account: Account) -> Markup:
    """Where the time goes, as one bar; the rest that no phase claims is hatched."""
    wall = account.wall_s or 1.0
    x, parts = 0.0, []
    for index, phase in enumerate(account.phases):
        width = WIDTH * phase.self_s / wall
        parts.append(rect(x, 0, width, BAR_HEIGHT, colour(index), f"{phase.path} {phase.self_s / wall:.1%}"))
        x += width
    rest = account.unaccounted_s / wall
    parts.append(rect(x, 0, WIDTH - x, BAR_HEIGHT, "unaccounted", f"unaccounted {rest:.1%}"))
    told = ", ".join(f"{phase.path} {phase.self_s / wall:.0%}" for phase in account.phases[:6])
    return picture(WIDTH, BAR_HEIGHT, f"where the time goes: {told}, unaccounted {rest:.1%}", parts, "chart")


def swatch(index: int | None) -> Markup:
    """The colour of a phase in a legend; None is what no phase claims."""
    return picture(12, 12, "", [rect(0, 0, 12, 12, "unaccounted" if index is None else colour(index))], "swatch")


def colour(index: int) -> str:
    """The class of the nth phase's colour."""
    return f"p{index % COLOURS}"


def waterfall(spans: Sequence[TimedSpan], paths: Sequence[str]) -> Markup:
    """One call: every phase where and when it ran, a lane per process, nested phases below their parents.

    `paths` are the phases in the order of the account, for their colours.
    """
    start_ns, end_ns = min(s.start_ns for s in spans), max(s.end_ns for s in spans)
    scale = (WIDTH - 4) / max(1, end_ns - start_ns)
    y, parts = 0, []
    for lane, those in lanes(spans).items():
        parts.append(label(0, y + 12, one_line(lane) or "this process", "start", "small"))
        y += 16
        deepest = 0
        for span, depth in _depths(those[:MOST_BARS]):
            deepest = max(deepest, depth)
            x, width = 2 + (span.start_ns - start_ns) * scale, max(1.5, (span.end_ns - span.start_ns) * scale)
            name = one_line(span.path.rpartition("/")[2])
            length = format_value((span.end_ns - span.start_ns) / 1e9, "s")
            class_ = colour(paths.index(span.path)) if span.path in paths else colour(COLOURS - 1)
            parts.append(rect(x, y + depth * ROW, width, ROW - 2, class_, f"{span.path} {length}"))
            if width > 7 * len(name) + 8:
                parts.append(label(x + 4, y + depth * ROW + 12, name, "start", "onbar"))
        y += (deepest + 1) * ROW + 4
    parts.append(label(0, y + 10, "0", "start", "small"))
    parts.append(label(WIDTH, y + 10, format_value((end_ns - start_ns) / 1e9, "s"), "end", "small"))
    told = "one call: " + ", ".join(
        f"{one_line(span.path)} {format_value((span.end_ns - span.start_ns) / 1e9, 's')}" for span in spans[:12]
    )
    return picture(WIDTH, y + 16, told, parts, "chart")


def _depths(spans: Sequence[TimedSpan]) -> Iterator[tuple[TimedSpan, int]]:
    """Each span with how many of its lane are open when it starts."""
    ends: list[int] = []
    for span in spans:
        ends = [end for end in ends if end > span.start_ns]
        yield span, len(ends)
        ends.append(span.end_ns)


def trend(found: Trend, kind: str = "") -> Markup | None:
    """A metric over runs: its medians as a line, their intervals as a band; None for fewer than two runs."""
    points = found.points
    if len(points) < 2:
        return None
    lows, highs = [p.low for p in points], [p.high for p in points]
    values = [p.value for p in points]
    y = _Axis(min([*lows, *values]), max([*highs, *values]), HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - 20 - RIGHT) / (len(points) - 1)
    xs = [LEFT + 20 + index * step for index in range(len(points))]
    band = [*zip(xs, map(y, highs), strict=True), *reversed(list(zip(xs, map(y, lows), strict=True)))]
    parts = [
        *(line(LEFT + 20, where, WIDTH - RIGHT, where, "grid") for where in (y(y.low), y(y.high))),
        label(LEFT + 14, y(y.high) + 8, format_value(y.high, found.unit, kind), "end", "small"),
        label(LEFT + 14, y(y.low), format_value(y.low, found.unit, kind), "end", "small"),
        polygon(band, "now-band"),
        polyline(list(zip(xs, map(y, values), strict=True)), "now-line"),
        *_dots(found, xs, y, kind),
        label(xs[0], HEIGHT - 14, _when(points[0].started), "start", "small"),
        label(xs[-1], HEIGHT - 14, _when(points[-1].started), "end", "small"),
    ]
    first, last = format_value(values[0], found.unit, kind), format_value(values[-1], found.unit, kind)
    return picture(WIDTH, HEIGHT, f"{found.metric} over {len(points)} runs: {first}, now {last}", parts, "chart")


def _dots(found: Trend, xs: Sequence[float], y: _Axis, kind: str) -> Iterable[Markup]:
    for x, point in zip(xs, found.points, strict=True):
        told = f"{_when(point.started)} {point.commit[:12]} {format_value(point.value, found.unit, kind)}"
        yield circle(x, y(point.value), 3, "dot", told)


def _when(started: str) -> str:
    return one_line(started[:10])
