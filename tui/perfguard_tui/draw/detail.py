"""The detail of a case: phases and one call at the left, figures and notes at the right, or all in one column."""

from __future__ import annotations

from perfguard.units import format_value
from perfguard_tui.draw.alternatives import draw_alternatives
from perfguard_tui.draw.metrics import draw_metrics, draw_notes
from perfguard_tui.draw.phases import draw_phases
from perfguard_tui.draw.progress import draw_progress
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


def draw_left(case: CaseView, width: int, *, alone: bool, now_s: float = 0.0) -> list[Line]:
    """Phases and waterfall, or where there are none the metrics; `alone`, also what else would be at the right.

    What runs has its stages first, growing up to `now_s` (seconds since the run began); what is over has them last.
    """
    progress = draw_progress(case, now_s, width)
    lines = _left(case, width, alone=alone)
    return _joined([progress, lines] if case.state == "running" else [lines, progress])


def _left(case: CaseView, width: int, *, alone: bool) -> list[Line]:
    phases, call = draw_phases(case, width), draw_waterfall(case, width)
    figures, notes = [draw_alternatives(case, width), draw_metrics(case, width)], draw_notes(case, width)
    if not has_phases(case):
        return _joined([*figures, call, notes, phases] if alone else [*figures, call])
    return _joined([phases, *figures, notes, call] if alone else [phases, call])


def draw_right(case: CaseView, width: int) -> list[Line]:
    """Metrics and notes; where the metrics stand at the left, notes and how to get phases."""
    if not has_phases(case):
        return _joined([draw_notes(case, width), draw_phases(case, width)])
    return _joined([draw_metrics(case, width), draw_notes(case, width)])


def has_phases(case: CaseView) -> bool:
    """Whether any phase is known, by the account or by the rounds so far."""
    return bool(case.account.phases if case.account is not None else case.live_phases)


def _joined(parts: list[list[Line]]) -> list[Line]:
    lines: list[Line] = []
    for part in parts:
        if part:
            lines += [_BLANK, *part] if lines else part
    return lines
