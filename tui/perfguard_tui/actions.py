"""Actions as data: bindings, footer and help are made of this one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a user can do. `keys` in Textual's names; `label` for the footer, empty to leave it out there."""

    keys: str
    name: str
    shown_keys: str
    label: str
    help: str


ACTIONS = (
    Action("j,down", "down", "j ↓", "", "next case, or scroll down"),
    Action("k,up", "up", "k ↑", "", "previous case, or scroll up"),
    Action("g,home", "first", "g", "", "first case, or the top"),
    Action("G,end", "last", "G", "", "last case, or the bottom"),
    Action("enter", "open", "enter", "open", "the selected case on the whole screen"),
    Action("escape", "out", "esc", "", "back; clear the filter"),
    Action("tab", "next_pane", "tab", "pane", "next pane: table, phases, metrics"),
    Action("shift+tab", "previous_pane", "⇧tab", "", "previous pane"),
    Action("f", "follow", "f", "follow", "follow the running case"),
    Action("slash", "filter", "/", "filter", "filter by words of names, suites, states and verdicts"),
    Action("space", "pause", "space", "pause", "freeze the view; events are still taken in"),
    Action("t", "theme", "t", "", "dark or light"),
    Action("question_mark", "help", "?", "help", "this help"),
    Action("q,ctrl+c", "quit", "q", "quit", "leave; a run started by the dashboard is interrupted"),
)
