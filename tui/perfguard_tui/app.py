"""The dashboard: ten times a second it takes one frozen snapshot and shows it; between ticks only keys move it."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Input

from perfguard_tui.actions import ACTIONS
from perfguard_tui.draw.detail import TWO_COLUMNS_FROM, draw_left, draw_right, draw_title
from perfguard_tui.draw.help import draw_footer
from perfguard_tui.draw.run_bar import run_bar
from perfguard_tui.feed import Feed
from perfguard_tui.palette import THEMES
from perfguard_tui.selection import chosen, filtered, moved
from perfguard_tui.store import Store
from perfguard_tui.views import CaseView, RunView
from perfguard_tui.widgets.case_table import CaseTable
from perfguard_tui.widgets.help_screen import HelpScreen
from perfguard_tui.widgets.lines_view import LineBar, LinesView

TICK_S = 0.1


class Dashboard(App[None]):
    """One run on one screen: run bar, cases, and the selected case's phases, call, metrics and notes."""

    TITLE = "perfguard"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key, action.name, action.help, show=False) for action in ACTIONS for key in action.keys.split(",")
    ]
    CSS = """
    Screen { background: $background; layout: vertical; }
    #run, #title, #footer { height: 1; }
    #run, #title, #footer { background: $panel; }
    #cases { height: 2fr; min-height: 4; }
    #detail { height: 3fr; }
    LinesView:focus { background: $panel 50%; }
    CaseTable, LinesView {
        scrollbar-background: $background; scrollbar-background-hover: $background;
        scrollbar-background-active: $background; scrollbar-color: $primary 35%;
        scrollbar-color-hover: $primary 60%; scrollbar-color-active: $primary;
    }
    #left { width: 3fr; }
    #right { width: 2fr; }
    .narrow #right { display: none; }
    .open #cases { display: none; }
    #filter { display: none; dock: bottom; border: none; height: 1; padding: 0 1; background: $panel; }
    .filtering #filter { display: block; }
    """

    def __init__(self, store: Store, feed: Feed) -> None:
        super().__init__()
        self._store = store
        self._feed = feed
        self._run = RunView()
        self._selected: str | None = None
        self._following = True
        self._paused = False
        self._filter = ""
        self._heard_s = time.monotonic()
        # Held on to rather than looked up: a last tick may come while the screen is being taken down.
        self._bar, self._title, self._footer = LineBar(id="run"), LineBar(id="title"), LineBar(id="footer")
        self._table, self._left, self._right = CaseTable(id="cases"), LinesView(id="left"), LinesView(id="right")
        self._input = Input(id="filter", placeholder="words of names, suites, states, verdicts")
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = THEMES[0].name

    def compose(self) -> ComposeResult:
        """The parts of the screen, from top to bottom."""
        yield self._bar
        yield self._table
        yield self._title
        yield Horizontal(self._left, self._right, id="detail")
        yield self._footer
        yield self._input

    def on_mount(self) -> None:
        """Begin to tick."""
        self._table.focus()
        self.set_interval(TICK_S, self.tick)
        self.call_after_refresh(self.tick)

    def on_resize(self, event: Resize) -> None:
        """One column of detail or two."""
        self._base.set_class(event.size.width < TWO_COLUMNS_FROM, "narrow")
        self.call_after_refresh(self.draw)

    # -- drawing

    def tick(self) -> None:
        """Take what has come since the last tick."""
        if not self._paused:
            run = self._store.snapshot()
            if run is not self._run:
                self._run, self._heard_s = run, time.monotonic()
        self.draw()

    def draw(self) -> None:
        """Show the snapshot; each widget refreshes only if what it shows has changed."""
        run, width = self._run, self.size.width
        cases = filtered(run, self._filter)
        self._selected = chosen(cases, run, self._selected, follow=self._following)
        case = run.case(self._selected)
        self._bar.show(run_bar(run, self._feed.status, self._elapsed_s(), width, paused=self._paused))
        empty = "no case matches the filter" if run.cases else "waiting for the first event"
        self._table.styles.max_height = max(4, len(run.cases) + 1)
        self._table.show(cases, self._selected, empty)
        self._title.show([draw_title(case, width)])
        self._draw_detail(case)
        following = self._following and self._feed.status.state == "live"
        self._footer.show([draw_footer(width, self._filter, following=following)])

    def _draw_detail(self, case: CaseView | None) -> None:
        left, right = self._left, self._right
        if case is None:
            left.show(())
            right.show(())
            return
        alone = not right.display
        left.show(draw_left(case, left.scrollable_content_region.width - 1, alone=alone))
        if not alone:
            right.show(draw_right(case, right.scrollable_content_region.width - 1))

    def _elapsed_s(self) -> float:
        since_s = time.monotonic() - self._heard_s if self._feed.status.state == "live" else 0.0
        return self._run.elapsed_s + since_s

    # -- keys: one method for each entry of `actions.ACTIONS`

    def action_down(self) -> None:
        """Next case, or scroll down."""
        self._move(1)

    def action_up(self) -> None:
        """Previous case, or scroll up."""
        self._move(-1)

    def action_first(self) -> None:
        """First case, or the top."""
        self._move(-len(self._run.cases) - 1)

    def action_last(self) -> None:
        """Last case, or the bottom."""
        self._move(len(self._run.cases) + 1)

    def action_open(self) -> None:
        """The selected case on the whole screen."""
        self._base.add_class("open")
        self._left.focus()
        self.call_after_refresh(self.draw)

    def action_out(self) -> None:
        """Back to the table; then clear the filter."""
        if self._base.has_class("open"):
            self._base.remove_class("open")
        elif self._filter:
            self._set_filter("")
        self._table.focus()
        self.call_after_refresh(self.draw)

    def action_next_pane(self) -> None:
        """Focus the next pane."""
        self.screen.focus_next("CaseTable, LinesView")

    def action_previous_pane(self) -> None:
        """Focus the previous pane."""
        self.screen.focus_previous("CaseTable, LinesView")

    def action_follow(self) -> None:
        """Follow the running case, or stop following."""
        self._following = not self._following
        self.draw()

    def action_pause(self) -> None:
        """Freeze the view, or go on."""
        self._paused = not self._paused
        self.tick()

    def action_theme(self) -> None:
        """Dark or light."""
        dark, light = (theme.name for theme in THEMES)
        self.theme = light if self.theme == dark else dark

    def action_filter(self) -> None:
        """Ask for a filter."""
        self._base.add_class("filtering")
        self._input.focus()

    def action_help(self) -> None:
        """Show the help."""
        self.push_screen(HelpScreen())

    # -- what widgets ask for

    def on_case_table_chosen(self, message: CaseTable.Chosen) -> None:
        """A row was clicked."""
        self._select(message.case_id)

    def on_input_changed(self, message: Input.Changed) -> None:
        """Filter as one types."""
        self._set_filter(message.value)

    def on_input_submitted(self) -> None:
        """Keep the filter, back to the table."""
        self._base.remove_class("filtering")
        self._table.focus()

    def _set_filter(self, text: str) -> None:
        self._filter = text
        if not text:
            self._base.remove_class("filtering")
            self._input.value = ""
        self.draw()

    def _move(self, by: int) -> None:
        if isinstance(self.focused, LinesView):
            self.focused.scroll_relative(y=by, animate=False)
        else:
            self._select(moved(filtered(self._run, self._filter), self._selected, by))

    def _select(self, case_id: str | None) -> None:
        self._following = False
        self._selected = case_id
        self._left.scroll_home(animate=False)
        self._right.scroll_home(animate=False)
        self.draw()

    @property
    def _base(self) -> Widget:
        """The dashboard's own screen, also while the help lies over it."""
        return self.screen_stack[0]
