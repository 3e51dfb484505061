"""Which cases are shown, and which one is selected."""

from __future__ import annotations

import dataclasses

import event_story
import pytest
from event_story import MODULE

from perfguard_tui.selection import chosen, filtered, moved
from perfguard_tui.store import Store
from perfguard_tui.views import RunView


@pytest.fixture(scope="module")
def run() -> RunView:
    store = Store()
    store.apply_all(event_story.events())
    return store.snapshot()


@pytest.mark.parametrize(
    ("text", "count"), [("", 10), ("shm", 5), ("SLOWER", 1), ("split_rpc", 2), ("naive shm", 0), ("failed", 1)]
)
def test_a_filter_is_words_that_must_all_occur(run: RunView, text: str, count: int) -> None:
    """In name, suite, state or verdict, whatever their case."""
    assert len(filtered(run, text)) == count


def test_moving_stops_at_the_ends(run: RunView) -> None:
    """And begins at an end when what was selected is no longer shown."""
    ids = [case.id for case in run.cases]
    assert moved(run.cases, ids[0], 1) == ids[1]
    assert moved(run.cases, ids[0], -1) == ids[0]
    assert moved(run.cases, ids[3], 100) == ids[-1]
    assert moved(run.cases, "gone", 1) == ids[0]
    assert moved((), ids[0], 1) is None


def test_following_selects_what_runs_and_then_what_got_slower(run: RunView) -> None:
    """A user who touches nothing looks at the right case."""
    ids = [case.id for case in run.cases]
    running = dataclasses.replace(run, running=ids[4], exit_status=None, gate=None)
    assert chosen(run.cases, running, ids[0], follow=True) == ids[4]
    assert chosen(run.cases, running, ids[0], follow=False) == ids[0]
    between = dataclasses.replace(running, running=None)
    assert chosen(run.cases, between, ids[4], follow=True) == ids[4]
    assert chosen(run.cases, run, ids[0], follow=True) == f"{MODULE}::test_round_trip[10MiB-shm]"
    assert chosen((), run, ids[0], follow=True) is None
    assert chosen(run.cases[:2], run, ids[9], follow=False) == ids[0]
