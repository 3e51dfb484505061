"""Several runs in one dashboard: a document and a recording side by side, a live one attached to beside them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import event_story
import pytest
from event_fixtures import LiveRun
from event_story import CASES
from screens import press, screen_of, settle
from textual.pilot import Pilot

from perfguard import document
from perfguard.errors import DocumentError, EventError
from perfguard.events.framing import MAGIC, record_of
from perfguard.events.schema import pack
from perfguard_tui.app import Dashboard
from perfguard_tui.export import document_of
from perfguard_tui.sources import Source, open_file
from perfguard_tui.store import Store

QUICKER = tuple(
    replace(told, median_s=told.median_s / 1.41 if "10MiB-shm" in told.id else told.median_s) for told in CASES
)


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    """The run before as a document, the run now as a recording, both read; the one before that for the other."""
    store = Store()
    store.apply_all(event_story.events(QUICKER[:9], seed=3))
    before = tmp_path / "before.json"
    before.write_text(json.dumps(document.to_json(document_of(store.snapshot()))), encoding="utf-8")
    now = tmp_path / "now.pgrun"
    now.write_bytes(MAGIC + b"".join(record_of(pack(event)) for event in event_story.events()))
    opened = [open_file(before), open_file(now)]
    for source, other in zip(opened, opened[::-1], strict=True):
        source.before = other
        source.feed.start()
        source.feed.join()
    return opened


async def compared(app: Dashboard, pilot: Pilot[None]) -> str:
    """The compare page, once the two runs have been judged."""
    await press(app, pilot, "3")
    while app.comparing:
        await pilot.pause(0.01)
    await settle(app, pilot)
    return screen_of(app)


def test_runs_are_switched_and_any_two_compared(sources: list[Source]) -> None:
    """The last is shown first; r chooses, R goes on, each keeps its own page; 3 judges the one against the other."""

    async def using() -> None:
        app = Dashboard(sources)
        async with app.run_test(size=(120, 40)) as pilot:
            await settle(app, pilot)
            assert "run 2/2" in screen_of(app)
            text = await compared(app, pilot)
            assert "before before.json  now now.pgrun" in text
            assert "▲ slower" in text
            assert app.comparison is not None
            assert app.comparison.rows[0].case == CASES[5].id
            text = await press(app, pilot, "r")
            assert "before.json  finished · 9/9 cases" in text
            assert "now.pgrun  replay · 10/10 cases" in text
            text = await press(app, pilot, "1")
            assert "run 1/2" in text
            assert "9/9 cases" in text
            assert app.state.page == "live"
            text = await press(app, pilot, "R")
            assert app.state.page == "compare"
            assert "run 2/2" in text
            text = await press(app, pilot, "b", "2")
            assert "before baselines" in text

    asyncio.run(using())


def test_a_live_run_is_attached_to_beside_a_file(sources: list[Source], live_run: Callable[..., LiveRun]) -> None:
    """It is offered by its name, shown as it goes on, and compared with what is stored."""
    run = live_run()
    run.do("story")

    async def using() -> None:
        app = Dashboard(sources[:1])
        sources[0].before = None
        async with app.run_test(size=(120, 40)) as pilot:
            await settle(app, pilot)
            assert "attach to" in await press(app, pilot, "r")
            await press(app, pilot, "2")
            feed = app.source.feed
            while feed.status.state != "live" or not app.source.store.snapshot().done:
                assert feed.is_alive()
                await pilot.pause(0.01)
            await settle(app, pilot)
            assert "● live" in screen_of(app)
            assert "attach to" not in await press(app, pilot, "r")
            await press(app, pilot, "escape", "b", "1")
            text = await compared(app, pilot)
            assert "before before.json" in text
            feed.stop()

    asyncio.run(using())
    run.do("close")


@pytest.mark.parametrize(("name", "error"), [("a.json", DocumentError), ("a.pgrun", EventError)])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, error: type[Exception]) -> None:
    """Before any screen is drawn, whichever of several it is."""
    (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(error, match=name):
        open_file(tmp_path / name)
