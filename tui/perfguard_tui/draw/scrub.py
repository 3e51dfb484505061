"""The scrub bar of a replay: how far it has come, how busy the recording is where, and the chosen window."""

from __future__ import annotations

import math

from perfguard_tui.lines import Line, line, spread
from perfguard_tui.marks import sparkline
from perfguard_tui.state import State


def draw_scrub(
    at_s: float,
    length_s: float,
    density: tuple[int, ...],
    state: State,
    width: int,
    *,
    playing: bool,
    pace: float,
    cut: bool,
) -> list[Line]:
    """Three lines: play and pace, busyness, the bar with `●` where it is, `[ ]` the window, `✂` a cut end."""
    room = max(10, width - 4)
    mark = ("▶ playing", "accent") if playing else ("‖ standing", "noisy")
    window = ""
    if state.window_from_s is not None:
        window = f"window from {state.window_from_s:.1f} s, x ends it"
    elif state.window is not None:
        window = f"window {state.window[0]:.1f} - {state.window[1]:.1f} s, x drops it"
    head = spread(
        [(" ", "text"), mark, (f" {pace:g}x   ", "bold"), (f"{at_s:.1f} s of {length_s:.1f} s", "text")],
        [(f"{window} ", "noisy")] if window else [("x begins a window ", "dim")],
        width,
    )
    places = {name: _place(s, length_s, room) for name, s in _moments(at_s, state)}
    cells = ["━" if i <= places["at"] else "─" for i in range(room)]
    roles = ["accent" if i <= places["at"] else "rule" for i in range(room)]
    for name, sign, role in (("low", "[", "noisy"), ("high", "]", "noisy"), ("at", "●", "bold")):
        if name in places:
            cells[places[name]], roles[places[name]] = sign, role
    bar = [(cell, role) for cell, role in zip(cells, roles, strict=True)]
    busy = sparkline(_rebinned(density, room), room)
    return [head, line(("  ", "text"), (busy, "spark")), line(("  ", "text"), *bar, ("✂" if cut else "", "broken"))]


def place_at(x: int, length_s: float, width: int) -> float:
    """The moment that stands at cell `x` of the bar."""
    return max(0.0, min(1.0, (x - 2) / max(1, max(10, width - 4) - 1))) * length_s


def _moments(at_s: float, state: State) -> list[tuple[str, float]]:
    moments = [("at", at_s)]
    if state.window is not None:
        moments += [("low", state.window[0]), ("high", state.window[1])]
    elif state.window_from_s is not None:
        moments.append(("low", state.window_from_s))
    return moments


def _place(s: float, length_s: float, room: int) -> int:
    return max(0, min(room - 1, int(s / length_s * room))) if length_s > 0 else 0


def _rebinned(density: tuple[int, ...], room: int) -> list[float]:
    if not density:
        return []
    return [math.sqrt(density[min(len(density) - 1, i * len(density) // room)]) for i in range(room)]
