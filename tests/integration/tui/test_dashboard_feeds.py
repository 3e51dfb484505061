"""Where the dashboard's events come from: a live run, a recording, a command that it starts."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import event_story
import pytest
from event_fixtures import HELPERS, LiveRun

from perfguard.errors import EndpointError, EventError
from perfguard.events.framing import MAGIC, record_of
from perfguard.events.runtime_dir import default_endpoint
from perfguard.events.schema import pack
from perfguard_tui.feed import CommandFeed, Feed, LiveFeed
from perfguard_tui.replaying import ReplayFeed
from perfguard_tui.store import Store


def _await(feed: Feed) -> None:
    feed.join(30)
    assert not feed.is_alive()


def test_a_live_run_is_followed_to_its_end(live_run: Callable[..., LiveRun]) -> None:
    """Attached late, the dashboard shows the whole run and says that it is finished."""
    run = live_run()
    count = int(run.do("story"))
    store = Store()
    feed = LiveFeed(store, None)
    feed.start()
    while feed.status.state != "live":
        assert feed.is_alive()
    run.begin("close")
    _await(feed)
    assert (store.snapshot().events, feed.status.state, feed.status.gaps) == (count, "finished", 0)


def test_a_killed_run_is_lost(live_run: Callable[..., LiveRun]) -> None:
    """The status says so, in words."""
    run = live_run()
    run.do("start")
    store = Store()
    feed = LiveFeed(store, run.endpoint)
    feed.start()
    while feed.status.state != "live":
        assert feed.is_alive()
    run.kill()
    _await(feed)
    assert feed.status.state == "lost"
    assert "gone" in feed.status.message


def test_waiting_can_be_left(runtime: Path) -> None:
    """With no run anywhere the feed waits, says so, and stops when told."""
    feed = LiveFeed(Store(), None)
    feed.start()
    assert feed.stop() is None
    assert not feed.is_alive()
    assert "waiting for" in feed.status.message


def test_a_refused_directory_is_told_and_looked_at_in_steps(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sockets may not lie there is no run either: the status says why, and no look follows another at once."""
    (runtime / "perfguard").write_text("in the way")
    pauses: list[float | None] = []
    feed = LiveFeed(Store(), None)

    def pause(timeout_s: float | None = None) -> bool:
        pauses.append(timeout_s)
        if len(pauses) == 3:
            feed._stopping.set()
        return feed._stopping.is_set()

    monkeypatch.setattr(feed._stopping, "wait", pause)
    feed.run()
    assert pauses == [0.4] * 3
    assert "not a directory of this user's own" in feed.status.message


@pytest.mark.parametrize("speed", [None, 1e9])
def test_a_recording_is_shown_to_where_it_was_cut(tmp_path: Path, speed: float | None) -> None:
    """All events before the cut, and where it is; at once or at a pace."""
    events = event_story.events()
    path = tmp_path / "a.pgrun"
    path.write_bytes((MAGIC + b"".join(record_of(pack(event)) for event in events))[:-3])
    store = Store()
    feed = ReplayFeed(store, path, speed)
    feed.start()
    _await(feed)
    assert store.snapshot().events == len(events) - 1
    assert "ends at byte" in feed.status.message


def test_a_file_that_is_no_recording_is_named(tmp_path: Path) -> None:
    """Before any screen is drawn."""
    with pytest.raises(EventError, match=r"a\.pgrun"):
        ReplayFeed(Store(), tmp_path / "a.pgrun")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(HELPERS / "story_command.py"), *arguments]


def test_a_command_is_started_shown_and_its_status_kept(runtime: Path) -> None:
    """It goes live where it was told; what it printed is kept; its status is returned."""
    store = Store()
    with tempfile.TemporaryFile() as output:
        feed = CommandFeed(store, _command("1"), default_endpoint("d").live, output)
        feed.start()
        _await(feed)
        assert feed.stop() == 1
        output.seek(0)
        assert output.read() == b"report of the run\n"
    assert (feed.status.state, store.snapshot().exit_status) == ("finished", 1)


def test_leaving_interrupts_the_command(runtime: Path) -> None:
    """As Ctrl-C would: the run ends with its own status for that, and leaves no socket."""
    store = Store()
    with tempfile.TemporaryFile() as output:
        feed = CommandFeed(store, _command("0", "hang"), default_endpoint("d").live, output)
        feed.start()
        while store.snapshot().done < 10:
            assert feed.is_alive()
        assert feed.stop() == 2
    assert list((runtime / "perfguard").iterdir()) == []


def test_a_command_that_never_goes_live_is_an_answer_too(runtime: Path) -> None:
    """A usage error, a crash: the feed fails with the status instead of waiting for ever."""
    with tempfile.TemporaryFile() as output:
        code = "print('error: no such option'); print('  rootdir: here'); raise SystemExit(4)"
        feed = CommandFeed(Store(), [sys.executable, "-c", code], default_endpoint("d").live, output)
        feed.start()
        _await(feed)
        assert feed.status.state == "failed"
        assert "status 4" in feed.status.message
        assert "error: no such option" in feed.status.message
        assert feed.stop() == 4


def test_a_command_that_does_not_exist_is_named(runtime: Path) -> None:
    """Before any screen is drawn."""
    with tempfile.TemporaryFile() as output, pytest.raises(EndpointError, match="no-such-command"):
        CommandFeed(Store(), ["no-such-command"], default_endpoint("d").live, output)


def test_a_command_killed_by_a_signal_gives_the_shells_status(runtime: Path) -> None:
    """128 + the signal's number."""
    code = f"import os; os.kill(os.getpid(), {int(signal.SIGTERM)})"
    with tempfile.TemporaryFile() as output:
        feed = CommandFeed(Store(), [sys.executable, "-c", code], default_endpoint("d").live, output)
        feed.start()
        _await(feed)
        assert feed.stop() == 128 + signal.SIGTERM
    assert os.environ["XDG_RUNTIME_DIR"] == str(runtime)
