"""The dashboard's screen: what lies where, and drawing it; a dozen ticks a second look whether anything has changed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.geometry import Size
from textual.screen import Screen
from textual.theme import Theme
from textual.widget import Widget
from textual.widgets import Input

from perfguard_tui.actions import remapped
from perfguard_tui.comparing import Comparison
from perfguard_tui.doctor import Doctor
from perfguard_tui.draw.detail import TWO_COLUMNS_FROM, draw_left, draw_right, draw_title
from perfguard_tui.draw.help import draw_crumbs, draw_footer
from perfguard_tui.draw.live import draw_samples, headline_series
from perfguard_tui.draw.log import draw_log
from perfguard_tui.draw.progress import draw_progress
from perfguard_tui.draw.run_bar import run_bar
from perfguard_tui.draw.scrub import draw_scrub
from perfguard_tui.known import Known
from perfguard_tui.pages import Scene, draw_page
from perfguard_tui.palette import THEMES, first_theme
from perfguard_tui.replaying import ReplayFeed, find_round
from perfguard_tui.selection import chosen, filtered, ordered
from perfguard_tui.sources import Source
from perfguard_tui.views import CaseView, RunView
from perfguard_tui.widgets.case_table import CaseTable
from perfguard_tui.widgets.lines_view import LineBar, LinesView
from perfguard_tui.window import windowed

TICK_S = 0.08
LEAST_SIZE = (40, 10)
LOWER_FROM_ROWS = 34
SAY_S = 4.0
RUNNING_HZ = 2.0  # how often what runs is seen to grow while no event comes: each time is some milliseconds of a CPU
REST_AFTER_S = 1.0  # without anything drawn


class DashboardBase(App[None]):
    """Widgets, layout and drawing. `state` is all that the user chose; `run_shown` the snapshot on the screen.

    `sources` are the open runs, the last of which is shown first.
    """

    TITLE = "perfguard"
    CSS = """
    Screen { background: $background; layout: vertical; }
    #run, #crumbs, #title, #footer, #scrub { height: 1; }
    #run, #crumbs, #title, #footer { background: $panel; }
    #cases { height: 2fr; min-height: 4; }
    #detail { height: 3fr; }
    #lower { height: 11; }
    #page { height: 1fr; }
    LinesView:focus { background: $panel 50%; }
    CaseTable, LinesView {
        scrollbar-background: $background; scrollbar-background-hover: $background;
        scrollbar-background-active: $background; scrollbar-color: $primary 35%;
        scrollbar-color-hover: $primary 60%; scrollbar-color-active: $primary;
    }
    #left, #chart { width: 3fr; }
    #right, #log { width: 2fr; }
    #main { width: 11fr; }
    #side { width: 9fr; }
    #filter { display: none; dock: bottom; border: none; height: 1; padding: 0 1; background: $panel; }
    .filtering #filter { display: block; }
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        known: Known | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.sources = list(sources)
        self.at = len(self.sources) - 1
        self.state = self.source.state
        self.known = known or Known(None)
        self.doctor = Doctor()
        self.actions = remapped(keys or {})
        self.run_shown = RunView()
        self.rows: tuple[CaseView, ...] = ()
        self._store, self._feed = self.source.store, self.source.feed
        self._drawn: tuple[Any, ...] = ()
        self._drawn_s = 0.0
        self._stirred = asyncio.Event()
        self._shape: tuple[Size, ...] = ()
        self._chosen_line: int | None = None
        self._running_drawn = 0
        self._laid_out_for = Size(0, 0)
        self._ground: Screen[Any] | None = None  # the dashboard's own screen, whatever lies over it
        self._bar_drawn: tuple[Any, ...] = ()
        self._said, self._said_s = "", 0.0
        self._raw: tuple[tuple[str, int] | None, tuple[Mapping[str, Any], ...]] = (None, ())
        for action in self.actions:
            for key in filter(None, action.keys.split(",")):
                self._bindings.bind(key, action.name, action.help, show=False, priority=key == "ctrl+c")
        # Held on to rather than looked up: a last tick may come while the screen is being taken down.
        self._bar, self._crumbs, self._title = LineBar(id="run"), LineBar(id="crumbs"), LineBar(id="title")
        self._footer, self._scrub = LineBar(id="footer"), LineBar(id="scrub")
        self._table, self._left, self._right = CaseTable(id="cases"), LinesView(id="left"), LinesView(id="right")
        self._chart, self._log_view = LinesView(id="chart"), LinesView(id="log")
        self._main, self._side = LinesView(id="main"), LinesView(id="side")
        self._detail, self._lower = (
            Horizontal(self._left, self._right, id="detail"),
            Horizontal(self._chart, self._log_view, id="lower"),
        )
        self._page = Horizontal(self._main, self._side, id="page")
        self._panes = (self._table, self._left, self._right, self._chart, self._log_view, self._page)
        self._input = Input(id="filter", placeholder="regex !word status:slower delta:>5% phase:pack suite: n:")
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = first_theme(os.environ)

    @property
    def source(self) -> Source:
        """The run that is shown."""
        return self.sources[self.at]

    @property
    def comparison(self) -> Comparison | None:
        """The shown run against the one chosen as before, or None."""
        return self.source.comparison

    def compose(self) -> ComposeResult:
        """The parts of the screen, from top to bottom; most are hidden on most pages."""
        yield self._bar
        yield self._crumbs
        yield self._scrub
        yield self._table
        yield self._title
        yield self._detail
        yield self._lower
        yield self._page
        yield self._footer
        yield self._input

    def on_mount(self) -> None:
        """Begin to tick."""
        self.lay_out()
        self._table.focus()
        self._ground = self.screen
        self._ground.screen_layout_refresh_signal.subscribe(self, self._laid_out)
        self.theme_changed_signal.subscribe(self, self._repaint)
        self.run_worker(self._clock(), name="clock")
        self.call_after_refresh(self._draw_first)

    def _draw_first(self) -> None:
        """Be on the screen before a long run has been looked at."""
        self.draw()
        self.call_after_refresh(self.tick)

    def _laid_out(self, _: Screen[Any]) -> None:
        """Every part has its size: what was drawn for other sizes is drawn again.

        A terminal's new size comes to the app first and to the screen and its parts some milliseconds later; what is
        drawn in between is drawn for the old ones.
        """
        if self.fits:
            return
        if self.size != self._laid_out_for:
            self.lay_out()  # which leads here again
        else:
            self.draw()

    def _repaint(self, _: Theme) -> None:
        """Roles have other colours now, which Textual cannot know where two themes have one background."""
        for screen in self.screen_stack:
            for widget in screen.walk_children(Widget):
                widget.notify_style_update()
                widget.refresh()

    @property
    def fits(self) -> bool:
        """Whether what was drawn last was drawn for the sizes that the terminal and all parts have now."""
        ground = self._ground is None or self._ground.outer_size == self.size
        return ground and self.size == self._laid_out_for and self._shape == self._shape_now()

    def _shape_now(self) -> tuple[Size, ...]:
        return (self.size, *(pane.outer_size for pane in self._panes if pane.display))

    def lay_out(self) -> None:
        """Show the parts that the page has room for; a zoomed pane has all of it."""
        self._laid_out_for = self.size
        state, (width, height) = self.state, self.size
        enough = width >= LEAST_SIZE[0] and height >= LEAST_SIZE[1]
        tables, zoomed = enough and state.page in ("live", "replay"), state.zoomed
        wide, tall = width >= TWO_COLUMNS_FROM, height >= LOWER_FROM_ROWS
        shown: dict[Widget, bool] = {
            self._scrub: state.page == "replay" and enough,
            self._table: tables and zoomed in ("", "cases"),
            self._title: tables and zoomed in ("", "left", "right"),
            self._detail: tables and zoomed in ("", "left", "right"),
            self._left: zoomed in ("", "left"),
            self._right: zoomed == "right" or (not zoomed and wide),
            self._lower: tables and (zoomed in ("chart", "log") or (not zoomed and tall)),
            self._chart: zoomed in ("", "chart"),
            self._log_view: zoomed == "log" or (not zoomed and width >= 90),
            self._page: enough and not tables,
            self._crumbs: enough,
        }
        for widget, display in shown.items():
            widget.display = display
        self._lower.styles.height = "1fr" if zoomed in ("chart", "log") else max(9, min(18, height // 4))
        self._drawn = ()

    # -- drawing

    async def _clock(self) -> None:
        """A dozen ticks a second. A timer of Textual's sends a message for each, which costs an idle one the most.

        When nothing was drawn for a while, only as many as show that time passes, until something comes.
        """
        begin_s = time.monotonic()
        while True:
            left_s = TICK_S - (time.monotonic() - begin_s) % TICK_S
            # A late tick neither delays the others nor is made up for; one a hair early is not followed at once.
            await asyncio.sleep(left_s if left_s > TICK_S / 10 else left_s + TICK_S)
            self.tick()
            if time.monotonic() - self._drawn_s > REST_AFTER_S and not self.state.paused:
                await self._rest(1 / RUNNING_HZ - TICK_S)

    async def _rest(self, seconds: float) -> None:
        """Wait so long, or until something came in or was drawn."""
        loop, stirred = asyncio.get_running_loop(), self._stirred
        stirred.clear()

        def ring() -> None:
            with contextlib.suppress(RuntimeError):  # the dashboard is being left
                loop.call_soon_threadsafe(stirred.set)

        self._store.alarm(ring)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stirred.wait(), seconds)

    def _stay_awake(self) -> None:
        """Something is drawn: the clock does not rest for a while."""
        self._drawn_s = time.monotonic()
        self._stirred.set()

    @property
    def _run_in_window(self) -> RunView:
        return windowed(self.run_shown, self.state.window, self.state.window_phases)

    def tick(self) -> None:
        """Take what has come since the last tick; draw if anything that is shown has changed."""
        begin_s = time.thread_time()
        if self.size != self._laid_out_for:
            self.lay_out()
        if not self.state.paused:
            run = self._store.snapshot(self._on_screen())
            if run is not self.run_shown:
                self.run_shown = run
                self.source.hear(run)
        if self.state.page == "doctor" and self.doctor.due():
            self.doctor.read()
            self._drawn = ()
        if self._said and time.monotonic() - self._said_s > SAY_S:
            self._said, self._drawn = "", ()
        feed = self._feed
        replay = (feed.at_s, feed.playing, feed.pace, feed.extent) if isinstance(feed, ReplayFeed) else ()
        shown = (id(self.run_shown), feed.status, self._shape_now(), replay, self.known.past.version)
        if shown != self._drawn:
            self.draw()
            self._drawn = shown
        elif self.size.width >= LEAST_SIZE[0]:  # the clock goes on
            self._draw_bar()
            self._draw_running()
            return
        self.doctor.frames.append(time.thread_time() - begin_s)

    def _on_screen(self) -> set[str]:
        """The cases whose latest samples can be seen: rows of the table, the selected and the marked one."""
        top, rows = self._table.scroll_offset.y, self._table.size.height
        shown = {case.id for case in self.rows[top : top + rows]}
        return shown | {one for one in (self.state.selected, self.state.marked, self.run_shown.running) if one}

    def draw(self) -> None:
        """Show the snapshot; each widget refreshes only if what it shows has changed."""
        self._stay_awake()
        self._shape = self._shape_now()
        width, height = self.size
        if width < LEAST_SIZE[0] or height < LEAST_SIZE[1]:
            self._bar_drawn = ()
            needed = "x".join(map(str, LEAST_SIZE))
            self._bar.show([((f" {width}x{height} is too small: {needed}"[:width], "noisy"),)])
            self._footer.show([()])
            return
        run, state = self._run_in_window, self.state
        self.rows = ordered(filtered(run, state.filter), state.order, backwards=state.backwards)
        state.selected = chosen(
            self.rows, run, state.selected, follow=state.following and state.page in ("live", "replay")
        )
        case = run.case(state.selected)
        self._draw_bar()
        self._crumbs.show([draw_crumbs(state, self._names(case), width)])
        if state.page in ("live", "replay"):
            self._draw_tables(run, case, width)
        else:
            self._draw_page(run, case)
        following = state.following and self._feed.status.state == "live"
        self._footer.show([draw_footer(width, state, following=following, actions=self.actions, said=self._said)])

    def _draw_bar(self) -> None:
        second = int(self._elapsed_s())
        which = f"{self.at + 1}/{len(self.sources)}" if len(self.sources) > 1 else ""
        shown = (id(self.run_shown), self._feed.status, second, self.size, self.state.paused, which)
        if shown != self._bar_drawn:
            self._bar_drawn = shown
            width, paused = self.size.width, self.state.paused
            self._bar.show(run_bar(self.run_shown, self._feed.status, second, width, paused=paused, which=which))

    def draw_selection(self) -> None:
        """Another row is chosen: show that and its title at once, and all that depends on it with the next tick.

        Rows and title are some lines side by side, which is half of a frame or less: a key held down is followed.
        """
        if not (self._table.display and self._title.display and self.rows):
            self.draw()
            return
        self._drawn = ()
        self._stay_awake()
        run = self._run_in_window
        self._draw_rows(run, run.case(self.state.selected), self.size.width)

    def _draw_rows(self, run: RunView, case: CaseView | None, width: int) -> None:
        empty = "no case matches the filter" if run.cases else "waiting for the first event"
        if self.state.window is not None and not run.cases:
            empty = "nothing ran in the window"
        self._table.styles.max_height = max(4, len(run.cases) + 1) if not self.state.zoomed else None
        self._table.show(self.rows, self.state.selected, empty, self.state.marked)
        self._title.show([draw_title(case, width)])

    def _draw_tables(self, run: RunView, case: CaseView | None, width: int) -> None:
        self._draw_rows(run, case, width)
        self._draw_detail(case)
        if self._lower.display:
            chart = self._chart
            chart_size = chart.outer_size
            chart.show(draw_samples(case, chart_size.width - 1, chart_size.height, log=self.state.log_axis))
            log = self._log_view.outer_size
            rows = 500 if self.state.zoomed == "log" else log.height
            self._log_view.show(draw_log(run, log.width - 1, rows))
        if self._scrub.display:
            self._draw_scrub(width)

    def _draw_scrub(self, width: int) -> None:
        feed = self._feed
        if not isinstance(feed, ReplayFeed):
            text = "this is no recording: perfguard dashboard FILE.pgrun replays one"
            self._scrub.show([((f" {text}", "dim"),)])
            return
        cut = "ends at byte" in feed.status.message
        length_s = feed.extent.length_s
        self._scrub.show(
            draw_scrub(
                feed.at_s,
                length_s,
                feed.extent.density,
                self.state,
                width,
                playing=feed.playing,
                pace=feed.pace,
                cut=cut,
            )
        )

    def _draw_detail(self, case: CaseView | None) -> None:
        left, right = self._left, self._right
        if case is None:
            left.show(())
            right.show(())
            return
        alone = not right.display
        if left.display:
            left.show(draw_left(case, left.outer_size.width - 1, alone=alone, now_s=self._elapsed_s()))
        if not alone:
            right.show(draw_right(case, right.outer_size.width - 1))

    def _draw_running(self) -> None:
        """The lane of what runs goes on between events; the rest of the pane stays as it was drawn."""
        elapsed_s = self._elapsed_s()
        if int(elapsed_s * RUNNING_HZ) == self._running_drawn or self.state.paused or self._feed.over:
            return
        self._running_drawn = int(elapsed_s * RUNNING_HZ)
        left, case = self._left, self.run_shown.case(self.state.selected)
        if case is not None and case.state == "running" and left.display and self._detail.display:
            left.show_head(draw_progress(case, elapsed_s, left.outer_size.width - 1))

    def _draw_page(self, run: RunView, case: CaseView | None) -> None:
        region = self._page.outer_size
        drawn = draw_page(
            Scene(
                run=run,
                case=case,
                state=self.state,
                feed=self._feed.status,
                known=self.known,
                comparison=self.comparison,
                raw=self._raw_of(case) if self.state.opened else (),
                readings=tuple(self.doctor.readings),
                facts=self.doctor.facts,
            ),
            max(20, region.width or self.size.width),
            max(6, region.height or self.size.height - 5),
        )
        self._side.display = bool(drawn.side)
        self._main.show(drawn.main, drawn.chosen)
        self._chosen_line = drawn.chosen
        self._side.show(drawn.side)

    def _raw_of(self, case: CaseView | None) -> tuple[Mapping[str, Any], ...]:
        """The events of the chosen sample's round, from memory or the recording; kept for the next tick."""
        series = headline_series(case)[0] if case is not None else None
        if case is None or series is None or series.points is None or not len(series.points[1]):
            return ()
        index = int(series.points[1][self.state.cursor.get("case", -1) % len(series.points[1])])
        if self._raw[0] != (case.id, index):
            raw = self._store.raw(case.id, index)
            if not raw and isinstance(self._feed, ReplayFeed):
                raw = tuple(find_round(self._feed.path, case.id, index))
            self._raw = (case.id, index), raw
        return self._raw[1]

    def _names(self, case: CaseView | None) -> list[str]:
        state = self.state
        names = [*state.trail, state.page]
        if case is not None and state.page in ("case", "history"):
            names.append(case.name.removeprefix("test_"))
        if state.opened:
            names.append("sample")
        return names

    def _elapsed_s(self) -> float:
        """Seconds since the run began: by the clock while it is live, by the replay's own in a recording."""
        feed, told_s = self._feed, self.run_shown.elapsed_s
        if isinstance(feed, ReplayFeed):
            return max(told_s, feed.at_s)
        return told_s + (time.monotonic() - self.source.heard_s if feed.status.state == "live" else 0.0)

    def say(self, text: str) -> None:
        """Say it in the footer for some seconds."""
        self._said, self._said_s = text, time.monotonic()
        self.draw()
