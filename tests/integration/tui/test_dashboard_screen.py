"""The dashboard as a user sees it: Textual's own pilot presses keys, the screen's text is read back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import event_story
import pytest
from event_story import CASES, Told
from screens import press, screen_of, settle
from textual.pilot import Pilot

from perfguard.events.schema import Event
from perfguard_tui import screenshot
from perfguard_tui.app import Dashboard
from perfguard_tui.comparing import own_comparison
from perfguard_tui.feed import Feed, FeedStatus
from perfguard_tui.sources import Source
from perfguard_tui.store import Store
from perfguard_tui.widgets.case_table import CaseTable
from perfguard_tui.widgets.help_screen import HelpScreen

Use = Callable[[Dashboard, Pilot[None]], Awaitable[None]]
SIZES = [(80, 24), (120, 40)]


class Quiet(Feed):
    """A feed whose events the test applies itself."""

    def __init__(self, store: Store, state: str = "live") -> None:
        super().__init__(store)
        self.status = FeedStatus(state)  # type: ignore[arg-type]

    @property
    def over(self) -> bool:
        """Its thread is the test."""
        return self.status.state != "live"


def _use(events: list[Event], use: Use, size: tuple[int, int] = (120, 40), state: str = "live") -> None:
    async def run() -> None:
        store = Store()
        store.apply_all(events)
        app = Dashboard([Source("", store, Quiet(store, state))])
        async with app.run_test(size=size) as pilot:
            await settle(app, pilot)
            await use(app, pilot)

    asyncio.run(run())


@pytest.mark.parametrize("size", SIZES)
def test_a_finished_run_says_what_got_slower_and_why(size: tuple[int, int]) -> None:
    """Without a key pressed: the gate, every verdict as a word, the slower case with its phase."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        text = screen_of(app)
        for part in ("gate exit 1", "▲ slower", "+41% [+38, +44]", "copy", "= 96%", "unaccounted", "10/10 cases"):
            assert part in text
        assert "round_trip[10MiB-shm]" in text
        assert "gaps 0" in text

    _use(event_story.events(), use, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_running_case_is_followed_until_the_user_moves(size: tuple[int, int]) -> None:
    """Following selects what runs; a key of the user's ends it, `f` brings it back."""
    events = event_story.events()
    starts = [i for i, e in enumerate(events) if e["kind"] == "case_started"]

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        assert "▶ test_round_trip[1MiB-shm]" in screen_of(app)
        app._store.apply_all(events[starts[3] + 5 : starts[4] + 5])
        await settle(app, pilot)
        assert "▶ test_round_trip[1MiB-naive-ipc]" in screen_of(app)
        assert "✓ test_round_trip[1MiB-shm]" in await press(app, pilot, "k")
        app._store.apply_all(events[starts[4] + 5 : starts[5] + 5])
        await settle(app, pilot)
        assert "✓ test_round_trip[1MiB-shm]" in screen_of(app)
        assert "▶ test_round_trip[10MiB-shm]" in await press(app, pilot, "f")

    _use(events[: starts[3] + 5], use, size)


def test_what_runs_moves_between_events() -> None:
    """With no event the running stage's bar and figure grow, and nothing else of its pane changes; a pause stops it."""
    events = event_story.events()
    start = [i for i, e in enumerate(events) if e["kind"] == "case_started"][3]

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        def pane() -> list[str]:
            lines = screen_of(app).split("\n")
            first = next(i for i, line in enumerate(lines) if "running for" in line)
            return [line[:66] for line in lines[first : first + 14]]

        async def later(by_s: float) -> list[str]:
            app.source.heard_s -= by_s
            await settle(app, pilot)
            return pane()

        before, after = await later(22.0), await later(12.0)  # on a scale of 50 s
        moving = next(i for i, line in enumerate(before) if line.startswith(" ▶"))
        assert 0 < before[moving].count("█") < after[moving].count("█")
        assert before[moving + 1 :] == after[moving + 1 :]
        assert any("phase so far" in line for line in after)
        await press(app, pilot, "space")
        stopped = pane()
        assert await later(1.0) == stopped

    _use(events[: start + 30], use)


def test_moving_shows_another_cases_phases() -> None:
    """j, k, arrows, g and G select; the detail follows."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        assert "✓ test_round_trip[empty-shm]" in await press(app, pilot, "g")
        assert "✓ test_round_trip[empty-ipc]" in await press(app, pilot, "j")
        assert "✓ test_round_trip[4KiB-shm]" in await press(app, pilot, "down")
        assert "✓ test_round_trip[empty-ipc]" in await press(app, pilot, "k")
        text = await press(app, pilot, "G")
        assert "✗ test_workload_mix[prefill-128-naive-tcp]" in text
        assert "PeerDied" in text

    _use(event_story.events(), use)


def test_a_click_selects_a_row() -> None:
    """The second row below the header."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        await pilot.click(CaseTable, offset=(10, 2))
        await settle(app, pilot)
        assert "✓ test_round_trip[empty-ipc]" in screen_of(app)

    _use(event_story.events(), use)


def test_pages_and_keys_are_clicked() -> None:
    """A page's name, a key's word in the footer; on the compare page a row, and the same again to open it."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        async def click(what: str, below: int = 0) -> str:
            lines = screen_of(app).split("\n")
            row = next(i for i, line in enumerate(lines) if what in line)
            await pilot.click(offset=(lines[row].index(what), row + below))
            await settle(app, pilot)
            return screen_of(app)

        assert "certainty" in await click("compare")
        assert app.state.page == "compare"
        await click("certainty", below=4)
        assert app.state.cursor["compare"] == 3
        await click("certainty", below=4)
        assert (app.state.page, app.state.selected) == ("case", own_comparison(app.run_shown).rows[3].case)
        assert "keys" in await click("help")
        assert isinstance(app.screen, HelpScreen)

    _use(event_story.events(), use, (200, 40), state="finished")


def test_the_filter_leaves_what_matches() -> None:
    """Typed words narrow the table; enter keeps the filter, escape clears it."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        text = await press(app, pilot, "slash", *"slower")
        assert "round_trip[10MiB-shm]" in text
        assert "round_trip[empty-shm]" not in text
        text = await press(app, pilot, "enter", "j")
        assert "round_trip[empty-shm]" not in text
        text = await press(app, pilot, "escape")
        assert "round_trip[empty-shm]" in text
        text = await press(app, pilot, "slash", *"zzz")
        assert "no case matches the filter" in text
        text = await press(app, pilot, "escape")
        assert "round_trip[empty-shm]" in text

    _use(event_story.events(), use)


def test_enter_opens_the_case_and_escape_goes_back() -> None:
    """The case gets the whole screen and a breadcrumb, then the table is back."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        text = await press(app, pilot, "enter")
        assert "round_trip[empty-ipc]" not in text
        assert "was 1.95 ms" in text
        assert "server" in text
        assert "live > case > round_trip[10MiB-shm]" in text
        assert "round_trip[empty-ipc]" in await press(app, pilot, "escape")

    _use(event_story.events(), use, (120, 50))


def test_tab_reaches_the_panes_and_j_scrolls_them() -> None:
    """At 80 columns the metrics lie below the phases; scrolling shows them."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        assert "over_memcpy" not in screen_of(app)
        assert "over_memcpy" in await press(app, pilot, "tab", *"jjjjjjjj")
        assert "▲ slower" in screen_of(app)

    _use(event_story.events(), use, (80, 24))


def test_pause_freezes_the_view_and_nothing_is_lost() -> None:
    """Events are taken in meanwhile and shown on the second space."""
    events = event_story.events()

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        assert "paused" in await press(app, pilot, "space")
        app._store.apply_all(events[100:])
        await settle(app, pilot)
        assert "1/10 cases" in screen_of(app)
        assert "10/10 cases" in await press(app, pilot, "space")

    _use(events[:100], use)


def test_help_and_theme() -> None:
    """`?` lists keys and verdicts until any key; `t` changes the theme."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        text = await press(app, pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert "follow the running case" in text
        await press(app, pilot, "x")
        assert not isinstance(app.screen, HelpScreen)
        before = app.theme
        await press(app, pilot, "t")
        assert app.theme != before

    _use(event_story.events(), use)


def test_names_are_shown_and_never_obeyed() -> None:
    """Markup, escapes and wide characters in a case's name are text on the screen."""
    evil = Told("test_[red]x[/]\x1b[2J\u202e[漢字]", 1e-3, "same")

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        text = screen_of(app)
        assert "[red]x[/]" in text
        assert "漢字" in text
        assert "\x1b" not in text
        assert "\u202e" not in text

    _use(event_story.events((evil, *CASES[:2])), use)


def test_resizing_redraws_for_the_new_size() -> None:
    """From wide to narrow to tiny and back: every pane is drawn for the size that it has, as at first."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        first = screen_of(app)
        assert "over_memcpy" in first
        for size in ((80, 24), (40, 10), (20, 5), (120, 40)):
            await pilot.resize_terminal(*size)
            await settle(app, pilot)
            text = screen_of(app)
            assert ("too small" in text) == (size == (20, 5))
        panes, panes_at_first = (shown[shown.index("✓ test_round_trip") :] for shown in (text, first))
        assert panes == panes_at_first  # the table may have been scrolled meanwhile

    _use(event_story.events(), use, state="finished")


def test_a_thousand_cases_keep_the_selected_one_on_screen() -> None:
    """The table scrolls with the selection."""
    cases = tuple(Told(f"test_{i}", 1e-3, "same") for i in range(1000))

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        assert " 999 " in await press(app, pilot, "G")
        text = await press(app, pilot, "g")
        assert " 999 " not in text
        assert "✓ 0 " in text

    _use(event_story.events(cases, rounds=1), use, (80, 24))


def test_before_the_first_event_it_says_that_it_waits() -> None:
    """An empty screen explains itself."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        assert "waiting for the first event" in screen_of(app)
        assert "◌ waiting" in screen_of(app)

    _use([], use, state="waiting")


def test_q_leaves() -> None:
    """At any time."""

    async def use(app: Dashboard, pilot: Pilot[None]) -> None:
        await pilot.press("q")
        await pilot.pause()
        assert not app.is_running

    _use([], use, state="waiting")


def test_a_picture_of_a_recording(tmp_path: Path) -> None:
    """The helper writes an SVG; a file that is no recording is named, with the error's status."""
    from perfguard.events.framing import MAGIC, record_of
    from perfguard.events.schema import pack

    recording, picture = tmp_path / "a.pgrun", tmp_path / "a.svg"
    recording.write_bytes(MAGIC + b"".join(record_of(pack(event)) for event in event_story.events()))
    assert screenshot.main([str(recording), str(picture), "--size", "100x30", "--keys", "j"]) == 0
    assert picture.read_text().startswith("<svg")
    assert screenshot.main([str(picture), str(tmp_path / "b.svg")]) == 4
