"""The detail of a case: phases and one call at the left, figures and notes at the right, or all in one column."""

from __future__ import annotations

from perfguard.units import format_value
from perfguard_tui.draw.metrics import draw_metrics, draw_notes
from perfguard_tui.draw.phases import draw_phases
from perfguard_tui.draw.waterfall import draw_waterfall
from perfguard_tui.lines import Line, Span, spread
from perfguard_tui.marks import STATE_GLYPHS, verdict_mark
from perfguard_tui.views import CaseView

TWO_COLUMNS_FROM = 110
_BLANK: Line = ()


def draw_title(case: CaseView | None, width: int) -> Line:
    """The name of the selected case, its stage or verdict."""
    if case is None:
        return spread([(" no case selected", "dim")], [], width)
    left: list[Span] = [(f" {STATE_GLYPHS[case.state]} ", "accent"), (case.name, "bold")]
    if case.suite and width >= 90:
        left.append((f"  {case.suite}", "dim"))
    right: list[Span] = []
    if case.state == "running":
        right.append((f"▶ {case.stage or 'running'} ", "accent"))
    if case.duration_s:
        right.append((f"{format_value(case.duration_s, 's')}  ", "dim"))
    if case.verdict:
        right.append((f"{verdict_mark(case.verdict)} ", case.verdict))
    return spread(left, right, width)


def draw_left(case: CaseView, width: int, *, alone: bool) -> list[Line]:
    """Phases and waterfall; `alone`, also what else would stand at the right."""
    parts = [draw_phases(case, width), draw_waterfall(case, width)]
    if alone:
        parts = [parts[0], draw_metrics(case, width), draw_notes(case, width), parts[1]]
    return _joined(parts)


def draw_right(case: CaseView, width: int) -> list[Line]:
    """Metrics and notes."""
    return _joined([draw_metrics(case, width), draw_notes(case, width)])


def _joined(parts: list[list[Line]]) -> list[Line]:
    lines: list[Line] = []
    for part in parts:
        if part:
            lines += [_BLANK, *part] if lines else part
    return lines
