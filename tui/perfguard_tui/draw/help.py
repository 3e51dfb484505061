"""The help, the footer and the line with pages and breadcrumbs: all made of the table of actions."""

from __future__ import annotations

from collections.abc import Sequence

from perfguard_tui.actions import ACTIONS, Action
from perfguard_tui.lines import Line, Span, crop, fit, line, spread, width_of
from perfguard_tui.marks import verdict_mark
from perfguard_tui.state import PAGES, State

_VERDICTS = {
    "slower": "changed for certain, and by more than the limit",
    "faster": "likewise on the good side",
    "same": "inside the limit",
    "noisy": "cannot be told within the budget",
    "new": "nothing to compare with yet",
    "missing": "in the baseline, not measured",
    "broken": "failed, or no figure",
}


def draw_help(actions: Sequence[Action] = ACTIONS) -> list[Line]:
    """Keys, then verdicts."""
    lines = [line(("keys", "header"))]
    lines += [line((fit(action.shown_keys, 8), "key"), (action.help, "text")) for action in actions]
    lines += [(), line(("verdicts", "header"))]
    lines += [line((fit(verdict_mark(word), 11), word), (meaning, "text")) for word, meaning in _VERDICTS.items()]
    return lines


def draw_crumbs(state: State, names: Sequence[str], width: int) -> Line:
    """The pages by number, then the way that led here; `names`: what the breadcrumbs say, outermost first."""
    crumbs: list[Span] = []
    for name in names:
        crumbs += [(" > " if crumbs else "", "rule"), (name, "text")]
    tabs = _tabs(state, full=True)
    if width_of(tabs) + 12 > width and state.trail:
        tabs = _tabs(state, full=False)
    room = width - width_of(tabs) - 3
    return spread(tabs, [*crop(line(*crumbs), max(0, room)), (" ", "text")] if crumbs and room > 8 else [], width)


def _tabs(state: State, *, full: bool) -> list[Span]:
    tabs: list[Span] = []
    for number, page in enumerate(PAGES, 1):
        here = page == state.page
        name = f" {page}{' ' if full else ''}" if full or here else ""
        tabs += [(f" {number}", "key"), (name, "bold" if here else "dim")]
    return tabs


def draw_footer(
    width: int, state: State, *, following: bool, actions: Sequence[Action] = ACTIONS, said: str = ""
) -> Line:
    """The keys worth knowing on this page, as many as fit; what was just said, a filter, a window come first."""
    spans: list[Span] = [(" ", "text")]
    if said:
        spans.append((f"{said}  ", "accent"))
    if state.filter:
        spans += [("/", "key"), (f"{state.filter}  ", "noisy")]
    if state.window is not None:
        spans += [("window ", "dim"), (f"{state.window[0]:.1f} - {state.window[1]:.1f} s  ", "noisy")]
    if state.order != "run" or state.backwards:
        spans += [("by ", "dim"), (f"{state.order}{' ↑' if state.backwards else ' ↓'}  ", "text")]
    spans = list(crop(line(*spans), width))
    used = width_of(spans)
    here = [a for a in actions if a.label and (not a.pages or state.page in a.pages)]
    keep = [a for a in here if a.name in ("help", "quit")]
    for action in [
        *[a for a in here if a not in keep and a.pages],
        *[a for a in here if a not in keep and not a.pages],
    ]:
        if used + sum(_length(a, following) for a in [*keep, action]) <= width:
            used += _length(action, following)
            spans += _piece(action, following)
    for action in keep:
        spans += _piece(action, following)
    return crop(line(*spans), width)


def _label(action: Action, following: bool) -> str:
    return "following" if action.name == "follow" and following else action.label


def _length(action: Action, following: bool) -> int:
    return len(action.shown_keys) + len(_label(action, following)) + 3


def _piece(action: Action, following: bool) -> list[Span]:
    label = _label(action, following)
    return [(action.shown_keys, "key"), (f" {label}  ", "accent" if label == "following" else "dim")]
