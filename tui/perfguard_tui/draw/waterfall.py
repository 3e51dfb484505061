"""One call as a waterfall: every span where and as long as it was, lane by lane on one clock."""

from __future__ import annotations

from perfguard.units import format_value
from perfguard_tui.draw.tree import indented
from perfguard_tui.lines import Line, Span, fit, fit_middle, spread
from perfguard_tui.marks import interval_bar
from perfguard_tui.views import CaseView

LANE_ROLES = ("lane0", "lane1", "lane2", "lane3")
MAX_ROWS = 60


def draw_waterfall(case: CaseView, width: int) -> list[Line]:
    """A head with the length of the call, then the lanes in order of their first span; nothing without spans."""
    if not case.spans:
        return []
    spans = sorted(case.spans, key=lambda span: (span.start_ns, -span.end_ns))
    start_ns, end_ns = spans[0].start_ns, max(span.end_ns for span in spans)
    whole_ns = max(1, end_ns - start_ns)
    lanes = list(dict.fromkeys(span.lane for span in spans))
    known = {span.path for span in spans}
    name_width = max(14, min(26, width // 4))
    bar_width = max(6, width - name_width - 12)
    length = format_value(whole_ns / 1e9, "s")
    lines: list[Line] = [spread([(" one call", "header")], [(f"0 … {length} ", "dim")], width)]
    for index, lane in enumerate(lanes):
        role = LANE_ROLES[index % len(LANE_ROLES)]
        margin = ""
        if len(lanes) > 1:
            lines.append(((f" {fit(lane or 'measured thread', name_width)}", role),))
            margin = "  "
        of_lane = [span for span in spans if span.lane == lane]
        for span in of_lane[: max(0, MAX_ROWS - len(lines))]:
            name = fit_middle(margin + indented(span.path, known), name_width)
            bar = _bar((span.start_ns - start_ns) / whole_ns, (span.end_ns - start_ns) / whole_ns, bar_width, role)
            took = format_value((span.end_ns - span.start_ns) / 1e9, "s")
            lines.append(((f" {name}", "text"), *bar, (fit(took, 10, right=True), "dim")))
    if len(spans) + len(lanes) > MAX_ROWS:
        lines.append(((f" … {len(spans)} spans in all", "dim"),))
    return lines


def _bar(begin: float, end: float, width: int, role: str) -> list[Span]:
    at, drawn = interval_bar(begin, end, width)
    parts = [("·" * at, "rule"), (drawn, role), ("·" * (width - at - len(drawn)), "rule")]
    return [part for part in parts if part[0]]
