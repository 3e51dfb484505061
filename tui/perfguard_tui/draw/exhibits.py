"""The pictures that cases hand on with their figures: lanes on one clock, ladders measured beside predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perfguard.pictures import Bar, Lanes, Rung, Rungs
from perfguard.units import format_value
from perfguard_tui.lines import Line, Span, crop, fit, fit_middle, line, spread
from perfguard_tui.marks import bar
from perfguard_tui.points import Floats

ROLES = ("lane0", "lane1", "lane2", "lane3", "slower", "faster")
_SHADES = "·░▒▓█"
_ENOUGH = 3  # cells from which on a bar shows its name


def draw_lanes(picture: Lanes, width: int) -> list[Line]:
    """A head with the length, a line for each lane, what the colours mean. Neighbours are shaded in turn as well."""
    start_s, end_s = min(one.start_s for one in picture.bars), max(one.end_s for one in picture.bars)
    whole_s = max(end_s - start_s, 1e-15)
    label = max(8, min(18, max(map(len, picture.lanes)) + 1, width // 5))
    room = max(10, width - label - 10)
    groups = list(dict.fromkeys(one.group or one.name for one in picture.bars))
    role_of = {group: ROLES[i % len(ROLES)] for i, group in enumerate(groups)}
    ends = f"0 … {format_value(whole_s, 's')} "
    lines: list[Line] = [spread([(f" {picture.title}", "header")], [(ends, "dim")], width)]
    for number, name in enumerate(picture.lanes):
        of_lane = sorted((one for one in picture.bars if one.lane == number), key=lambda one: one.start_s)
        busy = sum(one.end_s - one.start_s for one in of_lane) / whole_s
        cells = _lane(of_lane, start_s, whole_s, room, role_of)
        lines.append(line((f" {fit_middle(name, label)}", "text"), *cells, (fit(f"{busy:.0%}", 7, right=True), "dim")))
    legend: list[Span] = [(" " * (label + 1), "text")]
    legend += [(f"■ {group}  ", role_of[group]) for group in groups[:12]]
    return [*lines, crop(line(*legend), width)]


def _lane(bars: Sequence[Bar], start_s: float, whole_s: float, room: int, role_of: dict[str, str]) -> list[Span]:
    """`room` cells: who has most of each, how much of it is covered, and the names of what is wide enough."""
    covered, most = np.zeros(room), np.zeros(room)
    owner = np.full(room, -1)
    for number, one in enumerate(bars):
        begin, end = ((at - start_s) / whole_s * room for at in (one.start_s, one.end_s))
        first, last = min(room - 1, int(begin)), min(room - 1, int(end))
        cells = np.arange(first, last + 1)
        part = np.clip(np.minimum(end, cells + 1) - np.maximum(begin, cells), 0.0, 1.0)
        covered[cells] += part
        mine = part > most[cells]
        owner[cells[mine]], most[cells[mine]] = number, part[mine]
    signs, roles = _shades(covered, owner), ["rule"] * room
    for number, one in enumerate(bars):
        cells = np.flatnonzero(owner == number)
        for cell in cells:
            roles[cell] = role_of[one.group or one.name]
        _inscribe(signs, cells, one.name)
    return [(sign, role) for sign, role in zip(signs, roles, strict=True)]


def _shades(covered: Floats, owner: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[str]:
    signs = []
    for share, number in zip(covered, owner, strict=True):
        shade = min(4, max(0, round(float(share) * 4)))
        if number >= 0:
            shade = max(1, shade)
        signs.append("▓" if shade == 4 and number % 2 else _SHADES[shade])
    return signs


def _inscribe(signs: list[str], cells: np.ndarray[tuple[int, ...], np.dtype[np.int64]], name: str) -> None:
    """The name in the middle of the bar, with a cell of the bar at each side, if there is room for it."""
    if len(cells) < max(_ENOUGH, len(name) + 4) or not name.isprintable() or len(cells) != cells[-1] - cells[0] + 1:
        return
    at = int(cells[0]) + (len(cells) - len(name)) // 2
    signs[at - 1 : at + len(name) + 1] = [" ", *name, " "]


def draw_rungs(picture: Rungs, width: int) -> list[Line]:
    """A bar for each rung with `┃` where it was predicted; below, what each lost and by what, as a stacked bar."""
    rungs = picture.rungs
    label = max(12, min(30, max(len(rung.name) for rung in rungs) + 1, width // 3))
    predicted = any(rung.predicted is not None for rung in rungs)
    told = [format_value(rung.measured, picture.unit, picture.kind) for rung in rungs]
    value = max(10, min(18, max(map(len, told))))
    columns = value + 1 + 8 + (21 if predicted else 0)
    room = max(6, width - label - columns - 2)
    most = max([rung.measured for rung in rungs] + [rung.predicted or 0.0 for rung in rungs])
    head = f" {fit(picture.title, label + value + 1 + room)}{fit('factor', 8, right=True)}"
    head += f"{fit('predicted', 11, right=True)}{fit('missed by', 10, right=True)}" if predicted else ""
    lines: list[Line] = [crop(line((head, "header")), width)]
    for rung, figure in zip(rungs, told, strict=True):
        factor = f"{rung.measured / rungs[0].measured:.2f} x" if rungs[0].measured else ""
        spans: list[Span] = [
            (f" {fit_middle(rung.name, label)}", "text"),
            (fit(figure, value, right=True) + " ", "text"),
            *_marked(rung, most, room),
            (fit(factor, 8, right=True), "text"),
        ]
        if predicted and rung.predicted is not None:
            missed = f"{rung.predicted / rung.measured - 1:+.0%}" if rung.measured else ""
            expected = format_value(rung.predicted, picture.unit, picture.kind)
            spans += [(fit(expected, 11, right=True), "dim"), (fit(missed, 10, right=True), "dim")]
        lines.append(crop(line(*spans), width))
    if predicted:
        lines.append(line((" " * (label + value + 2) + "█ measured  ", "bar"), ("┃ predicted", "noisy")))
    return lines + _losses(picture, label, width)


def _marked(rung: Rung, most: float, room: int) -> list[Span]:
    drawn = bar(rung.measured / most if most > 0 else 0.0, room)
    cells = drawn + " " * (room - len(drawn))
    if rung.predicted is None or most <= 0:
        return [(cells, "bar")]
    at = max(0, min(room - 1, int(rung.predicted / most * room)))
    return [(cells[:at], "bar"), ("┃", "noisy"), (cells[at + 1 :], "bar")]


def _losses(picture: Rungs, label: int, width: int) -> list[Line]:
    names = list(dict.fromkeys(name for rung in picture.rungs for name in rung.parts))
    if not names:
        return []
    role_of = {name: ROLES[i % len(ROLES)] for i, name in enumerate(names)}
    sums = [sum(max(0.0, part) for part in rung.parts.values()) for rung in picture.rungs]
    most = max(sums)
    figures = 13 * len(names)
    room = max(6, width - label - figures - 2)
    titles = "".join(fit(name, 13, right=True) for name in names)
    lines: list[Line] = [(), crop(line((f" {fit(picture.parts_title, label + room)} {titles}", "header")), width)]
    for rung in picture.rungs:
        if not rung.parts:
            continue
        spans: list[Span] = [(f" {fit_middle(rung.name, label)}", "text")]
        used = 0
        for number, name in enumerate(names):
            cells = round(max(0.0, rung.parts.get(name, 0.0)) / most * room) if most > 0 else 0
            cells = min(cells, room - used)
            spans.append(("█▓▒░"[number % 4] * cells, role_of[name]))
            used += cells
        spans.append((" " * (room - used + 1), "text"))
        for name in names:
            told = format_value(rung.parts.get(name, 0.0), picture.parts_unit)
            spans.append((fit(told, 13, right=True), role_of[name]))
        lines.append(crop(line(*spans), width))
    return lines
