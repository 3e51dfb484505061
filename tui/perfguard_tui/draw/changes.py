"""Why it changed: each phase's part in the change as a bar, `serialize +18 ms = 94 % of the change`."""

from __future__ import annotations

from perfguard.document import Metric
from perfguard.units import format_change, format_change_interval, format_value
from perfguard_tui.lines import Line, crop, fit_middle, line
from perfguard_tui.marks import bar, verdict_mark
from perfguard_tui.views import CaseView


def draw_changes(case: CaseView, width: int) -> list[Line]:
    """For each metric with a change: how much, and by which phases; nothing if there is none."""
    lines: list[Line] = []
    for metric in case.metrics:
        if metric.change is not None and metric.change.phases:
            lines += draw_change(metric, width)
    return lines


def draw_change(metric: Metric, width: int) -> list[Line]:
    """The change of one metric, and its phases by the size of their part."""
    change = metric.change
    if change is None:
        return []
    verdict = metric.verdict or "text"
    mark = verdict_mark(metric.verdict) if metric.verdict else ""
    head = f" {format_change(change.ratio)} {format_change_interval(change.ci)} "
    lines: list[Line] = [crop(line((f" why {metric.name} changed ", "header"), (mark, verdict), (head, "text")), width)]
    phases = sorted(change.phases, key=lambda phase: -abs(phase.delta_s))
    most = max((abs(phase.share) for phase in phases), default=0.0) or 1.0
    name_width = max(11, min(26, width // 3))
    for phase in phases[:12]:
        grew = phase.delta_s > 0
        sign, role = ("+", "slower") if grew else ("-", "faster")
        told = f"{sign}{format_value(abs(phase.delta_s), 's')} = {phase.share:.0%} of the change"
        room = max(3, width - name_width - len(told) - 4)
        drawn = bar(abs(phase.share) / most, room)
        lines.append(
            crop(
                line(
                    (f" {fit_middle(phase.path, name_width)} ", "dim" if abs(phase.share) < 0.1 else "text"),
                    (drawn, role),
                    (" " * (room - len(drawn) + 1), "text"),
                    (told, role if abs(phase.share) >= 0.1 else "dim"),
                ),
                width,
            )
        )
    return lines
