"""Every page at three sizes in every theme, and the ways through them: find what got slower, see why, take it away."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import event_story
import pytest
from event_story import CASES
from screens import press, screen_of, settle
from textual.pilot import Pilot

from perfguard import baselines, document
from perfguard.doctor.machine import Facts
from perfguard.errors import EventError
from perfguard.events.framing import MAGIC, record_of
from perfguard.events.schema import pack, unpack
from perfguard_tui.app import Dashboard
from perfguard_tui.comparing import compare
from perfguard_tui.doctor import Busy, Reading
from perfguard_tui.export import document_of
from perfguard_tui.feed import Feed, FeedStatus
from perfguard_tui.known import Known
from perfguard_tui.palette import THEMES
from perfguard_tui.replaying import ReplayFeed
from perfguard_tui.sources import Source
from perfguard_tui.state import PAGES
from perfguard_tui.store import Store
from perfguard_tui.window import windowed

SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = [(80, 24), (120, 40), (200, 60)]
Use = Callable[[Dashboard, Pilot[None]], Awaitable[None]]


class Still(Feed):
    """A feed that has told all it had."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.status = FeedStatus("finished")


def use(make: Callable[[], Dashboard], using: Use, size: tuple[int, int] = (120, 40)) -> None:
    async def run() -> None:
        app = make()
        async with app.run_test(size=size) as pilot:
            await settle(app, pilot)
            await using(app, pilot)

    asyncio.run(run())


def stored_runs(folder: Path) -> document.Run:
    """Three process runs in `folder`; the last of them, as a document."""
    for seed in range(3):
        store = Store()
        quick = tuple(replace(told, ratio=1.0) for told in CASES[:9])
        store.apply_all(event_story.events(quick, seed=seed))
        run = document_of(store.snapshot())
        baselines.update(folder, replace(run, started=f"2025-11-1{seed}T09:00:00Z", run_id=f"r{seed}"))
    return run


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, document.Run]:
    folder = tmp_path_factory.mktemp("before") / "stored"  # the same name from run to run: it is on the screen
    folder.mkdir()
    return folder, stored_runs(folder)


def _dashboard(folder: Path, run: document.Run) -> Dashboard:
    store = Store()
    store.apply_all(event_story.events())
    comparison = compare(run, document_of(store.snapshot()), "before.json", "now.json")
    app = Dashboard([Source("", store, Still(store), comparison=comparison)], known=Known(folder))
    app.theme = THEMES[0].name
    reading = Reading(busy=0.5, load=(1.0, 2.0, 3.0), cpus=2, others=(Busy(4711, "cc1plus", 0.9),), clock_s=4e-8)
    app.doctor.readings.extend([reading, reading])
    app.doctor.facts = (Facts(cpus=2, usable=2, siblings=((0, 1),), clock="tsc", load=2.0),) * 2
    app.doctor._read_s = 1e18  # the machine of the test is no part of its claim
    return app


SCREENS = [(page, (str(number),)) for number, page in enumerate(PAGES, 1)]
SCREENS += [("sample", ("2", "l", "enter")), ("help", ("1", "question_mark")), ("copy", ("1", "y"))]


def style_of(app: Dashboard) -> str:
    """A digest of what the terminal is sent: every cell's text with its colours and weight."""
    digest = hashlib.sha256()
    for strip in app.screen._compositor.render_strips():
        for segment in strip.simplify():
            digest.update(f"{segment.text}|{segment.style}\n".encode())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("no_color", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_every_screen_looks_as_it_was_looked_at(
    before: tuple[Path, document.Run], size: tuple[int, int], no_color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One text for each screen and size, the same in every theme and without colours: colour alone tells nothing.

    What is sent besides the text is kept as a digest for each theme. `PERFGUARD_SNAPSHOTS=write` writes both anew; look
    at the difference, and at pictures, before you commit them.
    """
    folder, run = before
    monkeypatch.chdir(folder.parent)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    writing = os.environ.get("PERFGUARD_SNAPSHOTS") == "write"
    themes = THEMES[:1] if no_color else THEMES
    digests: dict[str, str] = {}
    differing = []

    async def using(app: Dashboard, pilot: Pilot[None]) -> None:
        assert app.no_color == no_color
        for screen, keys in SCREENS:
            text = await press(app, pilot, *keys)
            path = SNAPSHOTS / f"{screen}-{size[0]}x{size[1]}.txt"
            if writing and not no_color:
                path.write_text(text + "\n", encoding="utf-8")
            if path.read_text(encoding="utf-8") != text + "\n":
                differing.append((screen, text))
            for theme in themes:
                if app.theme != theme.name:
                    app.theme = theme.name
                    await settle(app, pilot)
                assert screen_of(app) == text
                digests[f"{screen} {'NO_COLOR' if no_color else theme.name}"] = style_of(app)
            app.theme = THEMES[0].name
            await press(app, pilot, "escape", "escape", "escape")
            app.state.trail.clear()

    use(lambda: _dashboard(Path("stored"), run), using, size)
    assert not differing, "\n".join(f"--- {screen}\n{text}" for screen, text in differing)
    assert len(set(digests.values())) == len(digests), "two screens or themes look alike"
    path = SNAPSHOTS / f"styles-{size[0]}x{size[1]}{'-no-color' if no_color else ''}.json"
    if writing:
        path.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == digests


def test_from_the_regression_to_its_reason_and_out(
    before: tuple[Path, document.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N finds it, enter says why, enter again opens a sample, escape leads back, y copies and e writes."""
    monkeypatch.chdir(tmp_path)

    async def using(app: Dashboard, pilot: Pilot[None]) -> None:
        await press(app, pilot, "g", "n")
        text = await press(app, pilot, "enter")
        assert "why time changed" in text
        assert "rpc/copy" in text
        assert "= 96% of the change" in text
        text = await press(app, pilot, "l", "enter")
        assert "sample 1 of 60" in text
        assert "live > case > round_trip[10MiB-shm] > sample" in text
        assert "against the median" in text
        text = await press(app, pilot, "escape", "escape")
        assert " 1 live" in text
        assert "why time changed" not in text
        await press(app, pilot, "y", "r")
        assert app.clipboard == f"pytest --perfguard '{CASES[5].id}'"
        for key in "scjh":
            await press(app, pilot, "e", key)

    folder, run = before
    use(lambda: _dashboard(folder, run), using)
    written = {path.suffix: path for path in tmp_path.iterdir()}
    assert set(written) == {".svg", ".csv", ".json", ".html"}
    found = document.from_json(json.loads(written[".json"].read_text(encoding="utf-8")))
    assert len(found.cases) == 10
    assert "▲ slower" in written[".html"].read_text(encoding="utf-8")


def test_filter_sort_mark_and_zoom(before: tuple[Path, document.Run]) -> None:
    """The filter language in the table; sorting; a marked case behind another's samples; a pane on the whole screen."""

    async def using(app: Dashboard, pilot: Pilot[None]) -> None:
        await press(app, pilot, "slash", *"n:60 !naive", "enter")
        assert len(app.rows) == 7
        assert all("naive" not in case.id for case in app.rows)
        await press(app, pilot, "escape", "s", "s")
        assert app.rows[0].verdict == "broken"
        await press(app, pilot, "S")
        assert app.rows[-1].verdict == "broken"
        await press(app, pilot, "S", "G", "m", "k")
        text = await press(app, pilot, "c")
        assert "(marked)" in text
        await press(app, pilot, "escape", "w")
        assert "unaccounted" not in screen_of(app)
        assert "unaccounted" in await press(app, pilot, "w")

    folder, run = before
    use(lambda: _dashboard(folder, run), using)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_baseline_is_accepted_only_where_that_was_allowed(tmp_path: Path, allowed: bool) -> None:
    """Without --allow-accept nothing is written; with it, after a yes, one more process run is there."""
    run = stored_runs(tmp_path)

    def counts() -> list[int]:
        loaded = baselines.load(tmp_path, str(run.machine["class"]))
        return [len(metric.process_runs) for metric in loaded.metrics.values() if metric.kind == "time"]

    async def using(app: Dashboard, pilot: Pilot[None]) -> None:
        text = await press(app, pilot, "3", "A")
        assert ("yes: add this process run" in text) == allowed
        text = await press(app, pilot, "y")
        assert ("accepted" in text) == allowed

    def make() -> Dashboard:
        store = Store()
        store.apply_all(event_story.events(CASES[:9]))
        source = Source("", store, Still(store))
        return Dashboard([source], known=Known(tmp_path), accept_into=tmp_path if allowed else None)

    assert set(counts()) == {3}
    use(make, using)
    assert (4 in counts()) == allowed


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.pgrun"
    path.write_bytes(MAGIC + b"".join(record_of(pack(event)) for event in event_story.events()))
    return path


async def _still(app: Dashboard, pilot: Pilot[None], feed: ReplayFeed) -> None:
    for _ in range(1500):
        if feed.over:
            break
        await pilot.pause(0.01)
    assert feed.over
    await settle(app, pilot)


def test_a_recording_is_scrubbed_windowed_and_played(recording: Path) -> None:
    """Back and on by twentieths, a window that every pane keeps to, played to the end again at a hundred times."""
    feeds: list[ReplayFeed] = []

    def make() -> Dashboard:
        store = Store()
        feeds.append(ReplayFeed(store, recording))
        feeds[0].start()
        feeds[0].join()
        return Dashboard([Source("", store, feeds[0])])

    async def using(app: Dashboard, pilot: Pilot[None]) -> None:
        (feed,) = feeds
        length_s = feed.extent.length_s
        assert length_s == pytest.approx(event_story.events()[-1]["t_ns"] / 1e9 - 5, abs=0.5)
        await press(app, pilot, "5")
        for _ in range(5):
            await pilot.press("left_square_bracket")
            await _still(app, pilot, feed)
        assert feed.at_s == pytest.approx(length_s * 3 / 4, rel=0.05)
        half = app.run_shown.done
        assert 0 < half < 10
        await press(app, pilot, "x")
        for _ in range(2):
            await pilot.press("right_square_bracket")
            await _still(app, pilot, feed)
        await press(app, pilot, "x")
        assert app.state.window is not None
        assert len(app.rows) < len(app.run_shown.cases)
        assert "window" in screen_of(app)
        for _ in range(1500):
            if app.state.window_phases is not None:
                break
            await pilot.pause(0.01)
        cut = [case for case in windowed(app.run_shown, app.state.window, app.state.window_phases).cases if case.notes]
        assert "all else is the window's" in cut[0].notes[0]
        bar = (
            screen_of(app)
            .split("\n")
            .index(next(line for line in screen_of(app).split("\n") if "●" in line and "━" in line))
        )
        await pilot.click(offset=(30, bar))
        await _still(app, pilot, feed)
        assert feed.at_s == pytest.approx(length_s * 28 / 115, rel=0.02)
        await pilot.press(*["right_square_bracket"] * 20)
        await _still(app, pilot, feed)
        await press(app, pilot, "x", *["right_curly_bracket"] * 9)
        assert feed.pace == 100.0
        await pilot.press("space")
        await _still(app, pilot, feed)
        assert app.run_shown.done == 10
        feed.stop()

    use(make, using)


def test_resizing_never_crashes(before: tuple[Path, document.Run]) -> None:
    """Random sizes on random pages, from next to nothing to huge; too small is said."""
    rng = random.Random(11)

    async def using(app: Dashboard, pilot: Pilot[None]) -> None:
        for _ in range(24):
            width, height = rng.choice([(1, 1), (20, 5), (rng.randint(2, 220), rng.randint(2, 70))])
            await pilot.resize_terminal(width, height)
            text = await press(app, pilot, rng.choice("1234567wL"))
            if width >= 40 > height >= 10:
                assert "too small" not in text
        await pilot.resize_terminal(30, 8)
        await settle(app, pilot)
        assert "30x8 is too small: 40x10" in screen_of(app)
        await pilot.resize_terminal(120, 40)
        assert "▲ slower" in await press(app, pilot, "1")

    folder, run = before
    use(lambda: _dashboard(folder, run), using)


def test_hostile_frames_leave_a_screen() -> None:
    """Whole frames with wild insides: what the schema lets through is shown or counted, and drawn on every page."""
    rng = random.Random(5)
    wild = [
        None,
        -1,
        1e308,
        float("nan"),
        "\x1b[2J[red]",
        [],
        {},
        [[1]],
        {"a": "b"},
        {"class": "../../x"},
        True,
        "x" * 5000,
    ]
    events = []
    for event in event_story.events(CASES[4:7], rounds=4):
        for _ in range(9):
            broken = dict(event)
            for name in rng.sample(sorted(set(event) - {"v", "kind"}), 1):
                broken[name] = rng.choice(wild)
            try:
                events.append(unpack(pack(broken)))
            except EventError:
                continue
        events.append(event)
    rng.shuffle(events)
    assert len(events) > 120

    async def using(app: Dashboard, pilot: Pilot[None]) -> None:
        for key in "2345671":
            assert "\x1b" not in await press(app, pilot, key)
        await press(app, pilot, "enter", "l", "enter")
        assert app.run_shown.bad > 5

    def make() -> Dashboard:
        store = Store()
        store.apply_all(events)
        return Dashboard([Source("", store, Still(store))])

    use(make, using)
