"""The suites' own pictures, out of what the run holds: curves over sizes, ladders of variants, lanes of one call.

The dashboard knows no suite: cases hand on pictures (`perfguard.pictures`), cases of one test whose parameters are
sizes make a curve, cases that differ in one parameter make a ladder, spans on several lanes make a Gantt chart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from perfguard.document import Metric
from perfguard.pictures import Lanes, Picture, Rungs, read
from perfguard.units import format_value
from perfguard_tui.draw.chart import Curve, Look, draw_chart
from perfguard_tui.draw.exhibits import draw_lanes, draw_rungs
from perfguard_tui.draw.page import Drawn, columns_of, joined
from perfguard_tui.draw.waterfall import draw_waterfall
from perfguard_tui.lines import Line, Span, crop, fit, fit_middle, line
from perfguard_tui.marks import bar
from perfguard_tui.views import CaseView, RunView

TWO_COLUMNS_FROM = 150
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|k|M)?")
_FACTORS = {None: 1.0, "B": 1.0, "k": 1e3, "M": 1e6, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_ROLES = ("lane0", "lane1", "lane2", "lane3", "slower", "faster")
_MOST_LANES = 3


def draw_pictures(run: RunView, width: int, height: int, *, log: bool, selected: str | None = None) -> Drawn:
    """The pictures that the run's cases make, the selected one's first; curves are logarithmic unless `log` is on."""
    two = width >= TWO_COLUMNS_FROM
    left, right = columns_of(width) if two else (width - 1, width - 1)
    rows = max(12, min(20, height // 2))
    handed = _handed(run, selected, width)
    curves = [draw_curves(name, series, left, rows, log=not log) for name, series in curves_of(run)]
    ladders = [draw_ladder(name, steps, right) for name, steps in ladders_of(run)]
    lanes = [_lanes(case, right) for case in _with_lanes(run)[:_MOST_LANES]]
    if not (curves or ladders or lanes or handed):
        what = "no case of this run makes a picture: no sizes, no variants, no lanes"
        return Drawn([((f" {what}", "dim"),)])
    if two and curves and (ladders or lanes) and not handed:
        return Drawn(joined(*curves), joined(*ladders, *lanes))
    return Drawn(joined(*handed, *curves, *ladders, *lanes))


def _handed(run: RunView, selected: str | None, width: int) -> list[list[Line]]:
    """What cases handed on: the selected one's, ladders, then the lanes of the first case of each other test."""
    having = [(case, pictures) for case in run.cases if (pictures := read(case.extra))]
    chosen = [one for one in having if one[0].id == selected]
    ladders = [one for one in having if one not in chosen and any(isinstance(each, Rungs) for each in one[1])]
    first: dict[str, tuple[CaseView, tuple[Picture, ...]]] = {}
    for one in having:
        if one not in chosen and one not in ladders:
            first.setdefault(_test_of(one[0]), one)
    shown = [*chosen, *ladders, *first.values()]
    drawn = [draw_handed(case, pictures, width) for case, pictures in shown]
    if len(having) > len(shown):
        more = (
            f" {len(having) - len(shown)} more cases have pictures like these: select one on page 1 to see its own here"
        )
        drawn.append([((more, "dim"),)])
    return drawn


def draw_handed(case: CaseView, pictures: Sequence[Picture], width: int) -> list[Line]:
    """What a case handed on, below its name."""
    head = line((f" {case.name.removeprefix('test_')}", "bold"), (f"  {case.suite}", "dim"))
    parts = [draw_lanes(one, width - 1) if isinstance(one, Lanes) else draw_rungs(one, width - 1) for one in pictures]
    return [head, *joined(*parts)]


def size_of(value: Any) -> float | None:
    """A size in bytes (or a count) out of a parameter: 4096, `4KiB`, `empty`; None if it is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if value == "empty":
        return 0.0
    match = _SIZE.fullmatch(str(value))
    return None if match is None else float(match[1]) * _FACTORS[match[2]]


def curves_of(run: RunView) -> Iterator[tuple[str, Mapping[str, list[tuple[float, Metric]]]]]:
    """For each test with a parameter of three sizes or more: its points (size, metric) by the other parameters."""
    for name, cases in _by_test(run).items():
        for parameter in cases[0].params:
            found: dict[str, list[tuple[float, Metric]]] = {}
            for case in cases:
                size, metric = size_of(case.params.get(parameter)), _time_of(case)
                if size is None or metric is None:
                    break
                rest = " ".join(str(value) for key, value in case.params.items() if key != parameter)
                found.setdefault(rest or "time", []).append((size, metric))
            else:
                if len({size for points in found.values() for size, _ in points}) >= 3:
                    yield f"{name} by {parameter}", found


def ladders_of(run: RunView) -> Iterator[tuple[str, Sequence[tuple[str, CaseView, Metric]]]]:
    """For each test with one parameter of four names or more, and times: its steps in the order of the run."""
    for name, cases in _by_test(run).items():
        for parameter in cases[0].params:
            steps = [(str(c.params.get(parameter)), c, m) for c in cases if (m := _time_of(c)) is not None]
            names = [step[0] for step in steps]
            told = all(metric.median > 0 and not read(case.extra) for _, case, metric in steps)
            distinct = len(steps) >= 4 and len(set(names)) == len(names)
            if told and distinct and all(size_of(one) is None for one in names):
                yield f"{name} by {parameter}", steps
                break


def draw_curves(
    name: str, series: Mapping[str, list[tuple[float, Metric]]], width: int, height: int, *, log: bool
) -> list[Line]:
    """Time over size, both logarithmic if `log`; an empty message stands at a sixteenth of the smallest other."""
    sizes = [size for points in series.values() for size, _ in points]
    least = min((size for size in sizes if size > 0), default=1.0) / 16
    curves, marks = [], []
    for number, (label, unsorted) in enumerate(series.items()):
        role = _ROLES[number % len(_ROLES)]
        points = sorted(unsorted, key=lambda point: point[0])
        x = np.log2([max(size, least) for size, _ in points]) if log else np.array([size for size, _ in points])
        y = np.array([metric.median for _, metric in points])
        between = np.linspace(x[0], x[-1], 4 * width)
        height_at = np.exp(np.interp(between, x, np.log(y))) if log and (y > 0).all() else np.interp(between, x, y)
        curves.append(Curve(between, height_at, role))
        marks.append((f" ━ {label} ", role))
    unit, kind = next((m.unit, m.kind) for points in series.values() for _, m in points)
    ends = ("empty" if min(sizes) == 0 else _size_text(min(sizes)), _size_text(max(sizes)))
    drawn = draw_chart(curves, width, height, Look(title=name, unit=unit, kind=kind, log=log, ends=ends))
    legend: list[Line] = []
    row: list[Span] = []
    for mark in marks:
        if row and sum(len(text) for text, _ in row) + len(mark[0]) > width:
            legend.append(line(*row))
            row = []
        row.append(mark)
    return [*drawn, *legend, line(*row)]


def draw_ladder(name: str, steps: Sequence[tuple[str, CaseView, Metric]], width: int) -> list[Line]:
    """A bar for each step, with its factor over the first; how far a prediction missed it, where the case says so."""
    first, most = steps[0][2].median, max(metric.median for _, _, metric in steps)
    label = max(12, min(24, max(len(step) for step, _, _ in steps) + 1, width // 3))
    predicted = any(_miss(case) is not None for _, case, _ in steps)
    room = max(4, width - label - 11 - 9 - (12 if predicted else 0) - 2)
    head = f" {fit(f'{name}: {steps[0][2].name}', label + 11 + room)}{fit('speed-up', 9, right=True)}"
    lines: list[Line] = [crop(line((head + (fit("predicted", 12, right=True) if predicted else ""), "header")), width)]
    for step, case, metric in steps:
        miss = _miss(case)
        drawn = bar(metric.median / most if most else 0.0, room)
        lines.append(
            line(
                (f" {fit_middle(step, label)}", "text"),
                (fit(format_value(metric.median, metric.unit, metric.kind), 10, right=True) + " ", "text"),
                (drawn + " " * (room - len(drawn)), "bar"),
                (fit(f"{first / metric.median:.2f} x" if metric.median else "", 9, right=True), "text"),
                (fit("" if miss is None else f"{miss:.0%} off", 12, right=True) if predicted else "", "dim"),
            )
        )
    return lines


def _lanes(case: CaseView, width: int) -> list[Line]:
    return [line((f" {case.name}", "bold")), *draw_waterfall(case, width)[:24]]


def _with_lanes(run: RunView) -> list[CaseView]:
    """The cases with spans on the most lanes, one of each test."""
    found: dict[str, CaseView] = {}
    for case in run.cases:
        lanes = len({span.lane for span in case.spans})
        test = _test_of(case)
        if lanes > 1 and (test not in found or lanes > len({span.lane for span in found[test].spans})):
            found[test] = case
    return sorted(found.values(), key=lambda case: -len({span.lane for span in case.spans}))


def _by_test(run: RunView) -> dict[str, list[CaseView]]:
    found: dict[str, list[CaseView]] = {}
    for case in run.cases:
        if case.params and case.state == "passed" and case.metrics:
            found.setdefault(_test_of(case), []).append(case)
    return found


def _test_of(case: CaseView) -> str:
    return case.name.partition("[")[0].removeprefix("test_")


def _time_of(case: CaseView) -> Metric | None:
    return next((metric for metric in case.metrics if metric.kind == "time"), None)


def _miss(case: CaseView) -> float | None:
    return next((metric.median for metric in case.metrics if metric.name == "prediction_error"), None)


def _size_text(size: float) -> str:
    return format_value(size, "B") if size >= 1 else f"{size:g}"
