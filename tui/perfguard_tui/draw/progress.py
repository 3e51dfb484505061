"""The stages of a case on the run's clock: what has been done, and what runs now, growing until the next one begins."""

from __future__ import annotations

import math

from perfguard.units import format_value
from perfguard_tui.draw.run_bar import format_elapsed
from perfguard_tui.lines import Line, fit, line, spread
from perfguard_tui.marks import interval_bar
from perfguard_tui.views import CaseView

MOST_ROWS = 6
_STEPS = (1.0, 2.0, 5.0, 10.0)


def draw_progress(case: CaseView, now_s: float, width: int) -> list[Line]:
    """A head and a bar for each stage; `now_s`: seconds since the run began. Nothing before the case has begun."""
    if case.began_s is None:
        return []
    running = case.state == "running"
    end_s = max(now_s, case.began_s) if running or case.ended_s is None else case.ended_s
    stages = case.stages or (("setup", case.began_s),)
    ends = [*(begin_s for _, begin_s in stages[1:]), end_s]
    scale_s = _scale(end_s - case.began_s) if running else max(1e-9, end_s - case.began_s)
    name_width = max(14, min(26, width // 4))
    room = max(6, width - name_width - 12)
    head = f"running for {format_elapsed(end_s - case.began_s)}" if running else "stages"
    lines = [spread([(f" {head}", "header")], [(f"0 … {format_value(scale_s, 's')} ", "dim")], width)]
    shown = list(zip(stages, ends, strict=True))
    for number, ((name, begin_s), until_s) in list(enumerate(shown))[-MOST_ROWS:]:
        now = running and number == len(shown) - 1
        start, end = (begin_s - case.began_s) / scale_s, (until_s - case.began_s) / scale_s
        at, drawn = interval_bar(start, end, room - 1 if now else room)
        mark = "▶" if now else ""
        role = "accent" if now else "bar"
        lines.append(
            line(
                (f" {'▶' if now else ' '} {fit(name, name_width - 2)}", role if now else "text"),
                ("·" * at, "rule"),
                (drawn + mark, role),
                ("·" * (room - at - len(drawn) - len(mark)), "rule"),
                (fit(format_value(max(0.0, until_s - begin_s), "s"), 10, right=True), "dim"),
            )
        )
    return lines


def _scale(elapsed_s: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... seconds: a bar that grows is seen to, until the scale makes a step."""
    power = 10.0 ** math.floor(math.log10(max(elapsed_s, 0.1)))
    return next((step * power for step in _STEPS if step * power >= elapsed_s), 10 * power)
