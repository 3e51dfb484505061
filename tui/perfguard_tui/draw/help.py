"""The help: every action, and what each mark means."""

from __future__ import annotations

from perfguard_tui.actions import ACTIONS
from perfguard_tui.lines import Line, Span, fit, line
from perfguard_tui.marks import verdict_mark

_VERDICTS = {
    "slower": "the whole interval of the change lies beyond the limit",
    "faster": "likewise on the good side",
    "same": "inside the limit",
    "noisy": "cannot be told within the budget",
    "new": "nothing to compare with yet",
    "missing": "in the baseline, not measured",
    "broken": "failed, or no figure",
}


def draw_help() -> list[Line]:
    """Keys, then verdicts."""
    lines = [line(("keys", "header"))]
    lines += [line((fit(action.shown_keys, 8), "key"), (action.help, "text")) for action in ACTIONS]
    lines += [(), line(("verdicts", "header"))]
    lines += [line((fit(verdict_mark(word), 11), word), (meaning, "text")) for word, meaning in _VERDICTS.items()]
    return lines


def draw_footer(width: int, filter_text: str, *, following: bool) -> Line:
    """The keys worth knowing, as many as fit; a filter in force comes first."""
    spans: list[Span] = [(" ", "text")]
    if filter_text:
        spans += [("/", "key"), (f"{filter_text}  ", "noisy")]
    used = sum(len(text) for text, _ in spans)
    for action in ACTIONS:
        label = "following" if action.name == "follow" and following else action.label
        piece = len(action.shown_keys) + len(label) + 3
        if action.label and used + piece <= width:
            used += piece
            spans += [(action.shown_keys, "key"), (f" {label}  ", "accent" if label == "following" else "dim")]
    return line(*spans)
