"""The log: what happened in the run, newest last."""

from __future__ import annotations

from rich.cells import cell_len

from perfguard_tui.lines import Line, crop, fit_middle, line
from perfguard_tui.views import RunView


def draw_log(run: RunView, width: int, rows: int) -> list[Line]:
    """The latest `rows` entries: seconds since the run began, the case's name, what happened."""
    lines: list[Line] = []
    room = max(8, (width - 11) // 2)
    for entry in run.log[-rows:] if rows > 0 else ():
        name = entry.case.rpartition("::")[2].removeprefix("test_")
        first = entry.text.split("\n", 1)[0]
        if cell_len(name) > room:
            name = fit_middle(name, room)
        spans = line((f" {entry.t_s:7.1f} s ", "dim"), (f"{name} " if name else "", "dim"), (first, entry.role))
        lines.append(crop(spans, width))
    return lines or [((" nothing has happened yet", "dim"),)]
