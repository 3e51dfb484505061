"""The history page over a real store of runs: where a level changed, between which commits, and the command to look."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import event_story
import pytest
from event_story import CASES
from screens import press, screen_of, settle

from perfguard.units import format_change
from perfguard_tui.app import Dashboard
from perfguard_tui.documents import DocumentFeed
from perfguard_tui.export import as_json, document_of
from perfguard_tui.feed import Feed
from perfguard_tui.known import Known
from perfguard_tui.past import PastReader, read_past
from perfguard_tui.sources import Source
from perfguard_tui.store import Store

pytest.importorskip("sqlalchemy", reason="the history's libraries are an extra")
SLOWER = CASES[5]
RUNS, STEP = 24, 14


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen runs of two cases; from the fifteenth commit on one takes 30 % longer."""
    from perfguard.history import open_history

    path = tmp_path_factory.mktemp("history") / "history.db"
    with open_history(path) as stored:
        for number in range(RUNS):
            factor = 1.3 if number >= STEP else 1.0
            cases = (CASES[0], replace(SLOWER, median_s=SLOWER.median_s * factor))
            store = Store()
            store.apply_all(event_story.events(cases, seed=number, rounds=8))
            run = document_of(store.snapshot())
            commit = {"id": f"{number:02}" * 20, "dirty": False, "branch": "main", "position": number}
            stored.add(replace(run, run_id=f"r{number}", started=f"2026-01-{number + 1:02}T09:00:00Z", commit=commit))
    return path


def _told(feed: Feed) -> Feed:
    feed.start()
    feed.join()
    return feed


def _dashboard(tmp_path: Path, target: Path) -> Dashboard:
    store = Store()
    store.apply_all(event_story.events((CASES[0], SLOWER), rounds=8))
    document = tmp_path / "now.json"
    document.write_text(as_json(store.snapshot()), encoding="utf-8")
    shown = Store()
    return Dashboard(
        [Source("", shown, _told(DocumentFeed(shown, document)))], known=Known(None, past=PastReader(target))
    )


async def _page(app: Dashboard, target_page: str) -> str:
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(app, pilot)
        await press(app, pilot, "G", target_page)
        while app.known.past.reading:
            await pilot.pause(0.01)
        await settle(app, pilot)
        text = screen_of(app)
        await press(app, pilot, "y", "b")
        return text


def test_a_change_shows_its_commits_and_copies_the_bisect(tmp_path: Path, history: Path) -> None:
    """By how much, between which commits, how sure; y copies the bisect of the chosen change."""
    app = _dashboard(tmp_path, history)
    text = asyncio.run(_page(app, "4"))
    assert f"{RUNS} runs on " in text
    change = read_past(history, SLOWER.id, "time", "").changes[
        0
    ]  # where it lies is the history's claim, not the page's
    assert change.is_worse
    assert f"▲ slower  {format_change(change.magnitude)}" in text
    assert f"in {change.before[:10]}..{change.after[:10]}" in text
    assert app.clipboard == f"perfguard bisect {change.before[:12]} {change.after[:12]} -- '{SLOWER.id}'"


def test_what_is_not_stored_is_said(tmp_path: Path, history: Path) -> None:
    """A history that is not there, or has no such case, is named; the page stands."""
    missing = tmp_path / "nothing.db"
    text = asyncio.run(_page(_dashboard(tmp_path, missing), "4"))
    assert "nothing.db" in text
    past = read_past(history, SLOWER.id, "time", "")
    assert past.trend is not None
    assert len(past.trend.points) == RUNS
