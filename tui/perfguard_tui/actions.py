"""Actions as data: bindings, footer, help, command palette and a user's own keys are made of this one table."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perfguard.errors import OptionError


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a user can do. `keys` in Textual's names; `label` for the footer, empty to leave it out there.

    `pages`: where the footer shows it; empty for everywhere.
    """

    keys: str
    name: str
    shown_keys: str
    label: str
    help: str
    pages: tuple[str, ...] = ()


_TABLES = ("live", "replay")
ACTIONS = (
    Action("1", "page('live')", "1", "", "live: the run, its cases, phases, chart and log"),
    Action("2", "page('case')", "2", "", "case: distribution, samples, what changed and why"),
    Action("3", "page('compare')", "3", "", "compare two runs, the surest change first"),
    Action("4", "page('history')", "4", "", "history of the case over stored runs, where it changed"),
    Action("5", "page('replay')", "5", "", "replay: scrub through a recording"),
    Action("6", "page('doctor')", "6", "", "doctor: the machine's noise and the dashboard's own cost"),
    Action("7", "page('pictures')", "7", "", "pictures: schedules, lanes, ladders, curves over sizes"),
    Action("j,down", "down", "j ↓", "", "next row, or scroll down"),
    Action("k,up", "up", "k ↑", "", "previous row, or scroll up"),
    Action("g,home", "first", "g", "", "first row, or the top"),
    Action("G,end", "last", "G", "", "last row, or the bottom"),
    Action("pagedown,ctrl+d", "page_down", "pgdn", "", "ten rows on"),
    Action("pageup,ctrl+u", "page_up", "pgup", "", "ten rows back"),
    Action("l,right", "sample(1)", "l →", "sample", "case: the next sample; enter opens it", ("case",)),
    Action("h,left", "sample(-1)", "h ←", "", "case: the previous sample"),
    Action("enter", "open", "enter", "open", "open: the case, or the sample", ("live", "replay", "case", "compare")),
    Action("escape", "out", "esc", "back", "back; clear the filter, the window"),
    Action("tab", "next_pane", "tab", "pane", "next pane", _TABLES),
    Action("shift+tab", "previous_pane", "⇧tab", "", "previous pane"),
    Action("f", "follow", "f", "follow", "follow the running case", _TABLES),
    Action("slash", "filter", "/", "filter", "filter: regex, !word, status: delta:>5% phase: suite: n:", _TABLES),
    Action("s", "sort", "s", "sort", "sort by the next column", _TABLES),
    Action("S", "sort_backwards", "S", "", "sort the other way round"),
    Action("n", "next_regression(1)", "n", "regression", "next case that got slower or broke", ("live", "case")),
    Action("N", "next_regression(-1)", "N", "", "previous such case"),
    Action("m", "mark", "m", "", "mark the case"),
    Action("c", "compare", "c", "compare", "compare with the marked case, or with the run before", ("live", "case")),
    Action("b", "before", "b", "before", "compare: choose the run to compare this one with", ("compare",)),
    Action("r", "runs", "r", "runs", "runs: show another open one, attach to a live one"),
    Action("R", "next_run(1)", "R", "", "show the next open run"),
    Action("w", "zoom", "w", "zoom", "give the pane the whole screen, or back", _TABLES),
    Action("L", "log_axis", "L", "log axis", "logarithmic axis of charts", ("case", "pictures", "history")),
    Action("space", "pause", "space", "pause", "freeze the view (a replay: stop and go); events are still taken in"),
    Action("left_square_bracket", "scrub(-1)", "[", "back", "replay: a twentieth back", ("replay",)),
    Action("right_square_bracket", "scrub(1)", "]", "on", "replay: a twentieth on", ("replay",)),
    Action("left_curly_bracket", "pace(-1)", "{", "slower", "replay: at half the pace", ("replay",)),
    Action("right_curly_bracket", "pace(1)", "}", "faster", "replay: at twice the pace, 1 to 100 times", ("replay",)),
    Action("x", "window", "x", "window", "replay: begin, end and drop a time window", ("replay",)),
    Action("y", "copy", "y", "copy", "copy: node id, Markdown row, rerun, bisect", ("live", "case", "history")),
    Action("e", "export", "e", "export", "export: SVG, CSV, JSON, HTML"),
    Action("A", "accept", "A", "", "compare: take the run as baseline (with --allow-accept)"),
    Action("t", "theme", "t", "theme", "next theme: dark, light, red-green, 16 colours"),
    Action("ctrl+p", "command_palette", "^p", "", "command palette: all of this by name"),
    Action("question_mark", "help", "?", "help", "this help"),
    Action("q,ctrl+c", "quit", "q", "quit", "leave; a run started by the dashboard is interrupted"),
)


def short_name(action: Action) -> str:
    """The name by which a user remaps it: `page-live`, `scrub-back`, `follow`."""
    name, _, argument = action.name.partition("(")
    argument = argument.rstrip(")").strip("'")
    return name if not argument else f"{name}-{ {'1': 'next', '-1': 'previous'}.get(argument, argument) }"


def keys_file() -> Path:
    """Where a user's own keys are: `perfguard/dashboard.toml` in the configuration folder."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "perfguard" / "dashboard.toml"


def read_keys(path: Path) -> Mapping[str, str]:
    """The table `[keys]` of a user's file: action -> keys; {} without a file. Raises `OptionError` naming the file."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise OptionError(str(path), f"cannot be read: {error}") from error
    keys = raw.get("keys", {})
    known = {short_name(action) for action in ACTIONS}
    if not isinstance(keys, dict):
        raise OptionError(f"{path}: keys", "is no table", 'write [keys] and lines such as follow = "F"')
    for name, wanted in keys.items():
        if name not in known:
            raise OptionError(f"{path}: keys.{name}", "is no action", f"one of {', '.join(sorted(known))}")
        if not isinstance(wanted, str) or not wanted:
            raise OptionError(f"{path}: keys.{name}", f"{wanted!r} is no key", 'write it as "F" or "ctrl+f,F"')
    return {str(name): str(wanted) for name, wanted in keys.items()}


def remapped(keys: Mapping[str, str]) -> tuple[Action, ...]:
    """The table with a user's own keys; a key that a user took away from another action is that action's no more."""
    taken = {key for wanted in keys.values() for key in wanted.split(",")}
    actions = []
    for action in ACTIONS:
        wanted = keys.get(short_name(action))
        kept = wanted.split(",") if wanted else [key for key in action.keys.split(",") if key not in taken]
        shown = wanted or (action.shown_keys if ",".join(kept) == action.keys else " ".join(kept))
        actions.append(Action(",".join(kept), action.name, shown, action.label, action.help, action.pages))
    return tuple(actions)
