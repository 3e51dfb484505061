"""What each key does: one method for each entry of `actions.ACTIONS`; and what widgets ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from textual.app import SystemCommand
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input
from textual.worker import get_current_worker

from perfguard.errors import PerfguardError
from perfguard.history.model import ChangePoint
from perfguard_tui import export, query
from perfguard_tui.actions import short_name
from perfguard_tui.comparing import Compared, own_comparison
from perfguard_tui.draw.history_page import bisect_command
from perfguard_tui.draw.live import headline_series
from perfguard_tui.draw.scrub import place_at
from perfguard_tui.known import Known
from perfguard_tui.palette import THEMES
from perfguard_tui.past import bisect_of
from perfguard_tui.picture_file import finished
from perfguard_tui.replaying import PACES, ReplayFeed
from perfguard_tui.runs import RunsDashboard
from perfguard_tui.selection import moved, next_regression
from perfguard_tui.sources import Source
from perfguard_tui.state import PAGES, State
from perfguard_tui.views import CaseView
from perfguard_tui.widgets.case_table import CaseTable
from perfguard_tui.widgets.choice_screen import ChoiceScreen
from perfguard_tui.widgets.help_screen import HelpScreen
from perfguard_tui.widgets.lines_view import LineBar, LinesView
from perfguard_tui.window import Window, WindowPhases, read_phases


class Dashboard(RunsDashboard):
    """Seven pages of one run out of those that are open. Read-only unless `accept_into` names a folder of baselines."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        known: Known | None = None,
        keys: Mapping[str, str] | None = None,
        accept_into: Path | None = None,
    ) -> None:
        super().__init__(sources, known=known, keys=keys)
        self._accept_into = accept_into

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:  # noqa: ARG002 - Textual\'s signature
        """The command palette: every action by its name."""
        for action in self.actions:
            if action.name != "command_palette":
                yield SystemCommand(short_name(action), action.help, self._runner(action.name))

    def _runner(self, name: str) -> Callable[[], None]:
        def run() -> None:
            self.call_later(self.run_action, name)

        return run

    # -- going about

    def action_page(self, page: str) -> None:
        """To a page."""
        self.state.go(page)
        self._arrive()

    def action_open(self) -> None:
        """The selected case, the chosen sample, or the chosen row's case."""
        state = self.state
        if state.page in ("live", "replay"):
            state.go("case")
        elif state.page == "case":
            state.opened = True
        elif state.page == "compare":
            rows = self._compare_rows()
            if not rows:
                return
            state.following = False
            state.selected = rows[min(len(rows) - 1, state.cursor.get("compare", 0))].case
            state.go("case")
        self._arrive()

    def action_out(self) -> None:
        """A step back; on the first page drop the zoom, the window, the filter."""
        state = self.state
        if self._base.has_class("filtering"):
            self._set_filter("")
        elif state.zoomed:
            state.zoomed = ""
        elif not state.back():
            if state.window is not None or state.window_from_s is not None:
                state.window = state.window_from_s = None
            elif state.filter:
                self._set_filter("")
        self._arrive()

    def _arrive(self) -> None:
        self.lay_out()
        tables = self.state.page in ("live", "replay")
        (self._table if tables else self._main).focus()
        for view in (self._main, self._side):
            view.scroll_home(animate=False)
        self.draw()
        self.call_after_refresh(self.draw)

    def action_down(self) -> None:
        """Next row, or scroll down."""
        self._move(1)

    def action_up(self) -> None:
        """Previous row, or scroll up."""
        self._move(-1)

    def action_first(self) -> None:
        """First row, or the top."""
        self._move(-1_000_000)

    def action_last(self) -> None:
        """Last row, or the bottom."""
        self._move(1_000_000)

    def action_page_down(self) -> None:
        """Ten rows on."""
        self._move(10)

    def action_page_up(self) -> None:
        """Ten rows back."""
        self._move(-10)

    def action_sample(self, by: int) -> None:
        """The next or previous sample of the case."""
        case = self.run_shown.case(self.state.selected)
        series = headline_series(case)[0] if case is not None else None
        if self.state.page != "case" or series is None or series.points is None or not len(series.points[0]):
            return
        self.state.cursor["case"] = (self.state.cursor.get("case", -1) + by) % len(series.points[0])
        self.draw()

    def action_next_pane(self) -> None:
        """Focus the next pane."""
        self.screen.focus_next("CaseTable, LinesView")

    def action_previous_pane(self) -> None:
        """Focus the previous pane."""
        self.screen.focus_previous("CaseTable, LinesView")

    def action_follow(self) -> None:
        """Follow the running case, or stop following."""
        self.state.following = not self.state.following
        self.draw()

    def action_next_regression(self, step: int) -> None:
        """The next case that got slower or broke."""
        found = next_regression(self.rows, self.state.selected, step)
        if found is None:
            self.say("nothing got slower or broke")
        else:
            self._select(found)

    # -- choosing what is shown

    def action_filter(self) -> None:
        """Ask for a filter."""
        self._base.add_class("filtering")
        self._input.focus()

    def action_sort(self) -> None:
        """By the next column."""
        orders = query.ORDERS
        self.state.order = orders[(orders.index(self.state.order) + 1) % len(orders)]
        self.draw()

    def action_sort_backwards(self) -> None:
        """The other way round."""
        self.state.backwards = not self.state.backwards
        self.draw()

    def action_zoom(self) -> None:
        """The focused pane on the whole screen, or back."""
        state = self.state
        if state.page not in ("live", "replay"):
            return
        focused = self.focused.id if self.focused is not None else None
        state.zoomed = "" if state.zoomed else focused or "cases"
        self.lay_out()
        self.call_after_refresh(self.draw)

    def action_log_axis(self) -> None:
        """Logarithmic axes, or linear."""
        self.state.log_axis = not self.state.log_axis
        self.draw()

    def action_pause(self) -> None:
        """Freeze the view, or go on; a replay stands still, or goes on."""
        if self.state.page == "replay" and isinstance(self._feed, ReplayFeed):
            self._feed.play(playing=not self._feed.playing)
        else:
            self.state.paused = not self.state.paused
        self._drawn = ()
        self.tick()

    def action_theme(self) -> None:
        """The next theme."""
        names = [theme.name for theme in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]

    def action_mark(self) -> None:
        """Mark the case, or take the mark away."""
        state = self.state
        state.marked = None if state.marked == state.selected else state.selected
        self.say("marked: c on another case compares" if state.marked else "no case is marked")

    def action_compare(self) -> None:
        """With the marked case if there is one, else the compare page."""
        state = self.state
        if state.marked is not None and state.marked != state.selected:
            state.go("case")
        else:
            state.go("compare")
        self._arrive()

    # -- replay

    def action_scrub(self, step: int) -> None:
        """A twentieth back or on."""
        if isinstance(self._feed, ReplayFeed):
            by_s = step * max(self._feed.extent.length_s / 20, 1e-9)
            self._feed.seek(min(self._feed.extent.length_s, self._feed.at_s + by_s))

    def action_pace(self, step: int) -> None:
        """The next slower or faster pace."""
        if isinstance(self._feed, ReplayFeed):
            at = min(range(len(PACES)), key=lambda i: abs(PACES[i] - self._feed_pace()))
            self._feed.set_pace(PACES[max(0, min(len(PACES) - 1, at + step))])
            self._drawn = ()

    def _feed_pace(self) -> float:
        return self._feed.pace if isinstance(self._feed, ReplayFeed) else 1.0

    def action_window(self) -> None:
        """Begin a window where the replay is, end it there, drop it."""
        state = self.state
        if not isinstance(self._feed, ReplayFeed):
            self.say("a window is for recordings")
            return
        at_s = self._feed.at_s
        if state.window is not None:
            state.window = None
        elif state.window_from_s is None:
            state.window_from_s = at_s
        else:
            low, high = sorted((state.window_from_s, at_s))
            state.window, state.window_from_s = (low, high), None
            self._read_window(self._feed, state, (low, high))
        self._drawn = ()
        self.draw()

    def _read_window(self, feed: ReplayFeed, state: State, window: Window) -> None:
        """Have the phases in the window read beside the screen: a long recording takes some seconds."""

        def read() -> None:
            worker = get_current_worker()
            try:
                found = read_phases(feed.path, feed.extent.first_ns, window, lambda: worker.is_cancelled)
            except PerfguardError as error:
                self.call_from_thread(self.say, str(error))
            else:
                if found is not None:
                    self.call_from_thread(self._window_read, state, found)

        self.run_worker(read, thread=True, name="window", group="window", exclusive=True)

    def _window_read(self, state: State, found: WindowPhases) -> None:
        state.window_phases = found
        self.draw()

    # -- taking away

    def action_copy(self) -> None:
        """Ask what to copy, then copy it."""
        case = self.run_shown.case(self.state.selected)
        if case is None:
            return
        choices = {
            "n": ("node id", case.id),
            "m": ("Markdown row", export.markdown_row(case)),
            "r": ("rerun command", export.rerun_command(case)),
        }
        if (bisect := self._bisect_of(case)) is not None:
            choices["b"] = ("bisect command", bisect)

        def copy(key: str | None) -> None:
            if key is not None:
                self.copy_to_clipboard(choices[key][1])
                self.say(f"copied the {choices[key][0]}")

        self.push_screen(ChoiceScreen("copy", {key: f"{what}: {text}" for key, (what, text) in choices.items()}), copy)

    def _bisect_of(self, case: CaseView) -> str | None:
        if changes := self._changes():
            return bisect_of(changes[max(0, min(len(changes) - 1, self.state.cursor.get("history", 0)))], case.id)
        metric = case.headline
        stored = None if metric is None else self.known.metric(self.run_shown, case, metric.name, metric.kind)
        return None if stored is None else bisect_command(case, stored)

    def action_export(self) -> None:
        """Ask for a format, then write a file beside where the dashboard was started; not for a browser."""
        if self.is_web:
            self.say("exports are written by a dashboard in a terminal")
            return
        svg = finished(self.export_screenshot(title=f"perfguard {self.run_shown.run_id}"))
        choices = {"s": "SVG: this screen", "c": "CSV: the cases shown", "j": "JSON: the run", "h": "HTML: both"}

        def write(key: str | None) -> None:
            if key is None:
                return
            run, rows = self.run_shown, self.rows
            makers: dict[str, tuple[str, Callable[[], str]]] = {
                "s": ("svg", lambda: svg),
                "c": ("csv", lambda: export.as_csv(rows)),
                "j": ("json", lambda: export.as_json(run)),
                "h": ("html", lambda: export.as_html(run, rows, svg)),
            }
            suffix, make = makers[key]
            try:
                path = export.write_new(Path.cwd(), run.run_id, suffix, make())
            except PerfguardError as error:
                self.say(str(error))
            else:
                self.say(f"written: {path.name}")

        self.push_screen(ChoiceScreen("export", choices), write)

    def action_accept(self) -> None:
        """Take the run's figures into the baselines, after a question; only where that was allowed."""
        if self._accept_into is None:
            self.say("read-only: start with --allow-accept to take a run into the baselines")
            return
        if self.state.page != "compare" or self.run_shown.exit_status is None:
            self.say("accepting is for the compare page of a finished run")
            return
        folder = self._accept_into

        def accept(key: str | None) -> None:
            from perfguard import baselines

            if key != "y":
                return
            try:
                written = baselines.update(folder, export.document_of(self.run_shown))
            except PerfguardError as error:
                self.say(str(error))
            else:
                self.say(f"accepted: {len(written)} files of baselines written")

        question = {"y": f"yes: add this process run to {folder}", "n": "no"}
        self.push_screen(ChoiceScreen("accept as baseline", question), accept)

    def action_help(self) -> None:
        """Show the help."""
        self.push_screen(HelpScreen(self.actions))

    # -- what widgets ask for

    def on_case_table_chosen(self, message: CaseTable.Chosen) -> None:
        """A row was clicked."""
        self._select(message.case_id)

    def on_lines_view_clicked(self, message: LinesView.Clicked) -> None:
        """A line of a page: the row there is chosen, and opened if it was already."""
        rows = self._rows_to_choose()
        if message.view is not self._main or rows is None or self._chosen_line is None:
            return
        cursor = self.state.cursor.get(self.state.page, 0)
        by = message.row - self._chosen_line
        if by == 0:
            self.action_open()
        elif 0 <= cursor + by < rows:
            self._move(by)

    def on_line_bar_clicked(self, message: LineBar.Clicked) -> None:
        """A page's number, a key of the footer, a place on the scrub bar."""
        if message.bar is self._scrub:
            if isinstance(self._feed, ReplayFeed) and message.y > 0:
                self._feed.seek(place_at(message.x, self._feed.extent.length_s, self.size.width))
        elif message.bar is self._crumbs and message.key in map(str, range(1, len(PAGES) + 1)):
            self.action_page(PAGES[int(message.key) - 1])
        elif message.bar is self._footer and message.key:
            action = next((one for one in self.actions if one.shown_keys == message.key), None)
            if action is not None:
                self.call_later(self.run_action, action.name)

    def on_input_changed(self, message: Input.Changed) -> None:
        """Filter as one types."""
        self.state.filter = message.value
        self.draw()

    def on_input_submitted(self) -> None:
        """Keep the filter, back to the table."""
        self._base.remove_class("filtering")
        self._table.focus()

    def _set_filter(self, text: str) -> None:
        self.state.filter = text
        if not text:
            self._base.remove_class("filtering")
            self._input.value = ""
        self.draw()

    def _move(self, by: int) -> None:
        state = self.state
        rows = self._rows_to_choose()
        if rows is not None:
            state.cursor[state.page] = max(0, min(rows - 1, state.cursor.get(state.page, 0) + by))
            self.draw()
        elif isinstance(self.focused, LinesView):
            self.focused.scroll_relative(y=by, animate=False)
        else:
            self._select(moved(self.rows, state.selected, by))

    def _rows_to_choose(self) -> int | None:
        """How many rows the page has that a cursor goes over, None where it has none."""
        if self.state.page == "compare":
            return len(self._compare_rows())
        changes = self._changes()
        return len(changes) if self.state.page == "history" and changes else None

    def _changes(self) -> tuple[ChangePoint, ...]:
        """The change points of the selected case in the history of runs."""
        case = self.run_shown.case(self.state.selected)
        past = None if case is None else self.known.past_of(self.run_shown, case)
        return () if past is None else past.changes

    def _compare_rows(self) -> tuple[Compared, ...]:
        return (self.comparison or own_comparison(self.run_shown)).rows

    def _select(self, case_id: str | None) -> None:
        self.state.following = False
        if case_id != self.state.selected:
            self.state.cursor.pop("case", None)
        self.state.selected = case_id
        for view in (self._left, self._right, self._main, self._side):
            if view.scroll_offset.y:
                view.scroll_home(animate=False)
        self.draw_selection()

    @property
    def _base(self) -> Widget:
        """The dashboard's own screen, also while another lies over it."""
        return self.screen_stack[0]
