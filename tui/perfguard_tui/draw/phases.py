"""The phases of a case as bars: self time per call, share of the whole, and `unaccounted` always shown."""

from __future__ import annotations

from dataclasses import dataclass

from perfguard.document import Account, PhaseChange
from perfguard.units import format_value
from perfguard_tui.draw.tree import indented
from perfguard_tui.lines import Line, Span, fit, fit_middle
from perfguard_tui.marks import bar
from perfguard_tui.views import CaseView

UNACCOUNTED = "unaccounted"


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One bar: seconds per call, and its share of the call."""

    path: str
    label: str
    self_s: float
    share: float
    change: PhaseChange | None = None


def phase_rows(case: CaseView) -> list[PhaseRow]:
    """Parents before children, siblings by weight, `unaccounted` last; from the account once there is one."""
    if case.account is not None:
        figures = _of_account(case.account)
        rest_s = case.account.unaccounted_s / max(1, case.account.calls)
    elif case.live_phases:
        figures = {path: self_s for path, self_s in case.live_phases if path != UNACCOUNTED}
        rest_s = case.live_call_s - sum(figures.values())
    else:
        return []
    whole_s = sum(figures.values()) + rest_s or 1.0
    changes = {change.path: change for metric in case.metrics if metric.change for change in metric.change.phases}
    rows = [
        PhaseRow(path, indented(path, figures), figures[path], figures[path] / whole_s, changes.get(path))
        for path in _in_tree_order(figures)
    ]
    return [*rows, PhaseRow(UNACCOUNTED, UNACCOUNTED, rest_s, rest_s / whole_s, changes.get(UNACCOUNTED))]


def draw_phases(case: CaseView, width: int) -> list[Line]:
    """A head, and a line for each phase."""
    rows = phase_rows(case)
    if not rows:
        why = "no phases yet" if case.state in ("planned", "running") else 'no phases: use perfguard.phase("name")'
        return [((f" {why}", "dim"),)]
    changed = any(row.change for row in rows)
    change_width = 18 if changed and width >= 60 else 0
    name_width = max(13, min(28, max(len(row.label) for row in rows) + 1, width // 3))
    bar_width = max(4, width - name_width - 10 - 7 - change_width - 4)
    title = "phase so far" if case.account is None and case.state == "running" else "phase"
    head = f" {fit(title, name_width)}{fit('self/call', 10, right=True)}{fit('share', 7, right=True)}  "
    tail = fit("change", change_width - 1, right=True) if change_width else ""
    lines: list[Line] = [((head + " " * bar_width + tail, "header"),)]
    top = max(row.share for row in rows) or 1.0
    return [*lines, *(_row(row, name_width, bar_width, change_width, top) for row in rows)]


def _row(row: PhaseRow, name_width: int, bar_width: int, change_width: int, top: float) -> Line:
    rest = row.path == UNACCOUNTED
    spans: list[Span] = [
        (" " + fit_middle(row.label, name_width), "dim" if rest else "text"),
        (fit(format_value(row.self_s, "s"), 10, right=True), "text"),
        (fit(f"{row.share:.1%}", 7, right=True) + "  ", "dim"),
    ]
    drawn = bar(row.share / top, bar_width)
    grown = 0
    if row.change is not None and row.change.delta_s > 0 and row.self_s > 0 and drawn:
        grown = min(len(drawn), round(len(drawn) * row.change.delta_s / row.self_s))
    kept = len(drawn) - grown
    if rest:
        spans.append(("▒" * kept if row.share > 0 else "", "unaccounted"))
    else:
        spans.append((drawn[:kept], "bar"))
    spans.append((drawn[kept:], "slower"))
    if change_width:
        spans.append((" " * (bar_width - len(drawn)), "text"))
        spans += _change(row.change, change_width - 1)
    return tuple(span for span in spans if span[0])


def _change(change: PhaseChange | None, width: int) -> list[Span]:
    if change is None or change.delta_s == 0:
        return []
    sign, role = ("+", "slower") if change.delta_s > 0 else ("-", "faster")
    text = f"{sign}{format_value(abs(change.delta_s), 's')} = {change.share:.0%}"
    return [(fit(text, width, right=True), role if abs(change.share) >= 0.1 else "dim")]


def _of_account(account: Account) -> dict[str, float]:
    return {phase.path: phase.self_s / max(1, account.calls) for phase in account.phases}


def _in_tree_order(figures: dict[str, float]) -> list[str]:
    def weight(path: str) -> float:
        return sum(self_s for other, self_s in figures.items() if other == path or other.startswith(f"{path}/"))

    def key(path: str) -> list[tuple[float, str]]:
        parts = path.split("/")
        stems = ["/".join(parts[:cut]) for cut in range(1, len(parts) + 1)]
        return [(-weight(stem), stem) for stem in stems]

    return sorted(figures, key=key)
