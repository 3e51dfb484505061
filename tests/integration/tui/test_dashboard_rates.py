"""Nothing is lost at any rate: exact counts through real processes and sockets, as fast as the producer can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from event_fixtures import LiveRun

from perfguard.events import EventStream, Replay
from perfguard_tui.feed import LiveFeed
from perfguard_tui.replaying import ReplayFeed
from perfguard_tui.store import Store


@pytest.mark.parametrize(("command", "rounds"), [("rounds", 150_000), ("singles", 15_000)])
def test_every_round_arrives_as_fast_as_a_run_can_emit_them(
    live_run: Callable[..., LiveRun], command: str, rounds: int
) -> None:
    """Gathered or one message each, unthrottled, into the dashboard's store: all, no gap, nothing shed, nothing bad."""
    run = live_run()
    run.do("start")
    store = Store()
    feed = LiveFeed(store, run.endpoint)
    feed.start()
    while feed.status.state != "live":
        assert feed.is_alive()
    run.begin(f"{command} {rounds}")
    run.begin("finish")
    run.begin("close")
    feed.join(120)
    assert not feed.is_alive()
    view = store.snapshot()
    (case,) = view.cases
    assert (view.events, case.series[0].n) == (rounds + 2, rounds)
    assert (feed.status.state, feed.status.gaps, feed.status.shed, feed.status.bad, view.bad) == (
        "finished",
        0,
        0,
        0,
        0,
    )


def test_a_late_dashboard_and_the_recording_agree(tmp_path: Path) -> None:
    """Recorded and live at once, the dashboard attached after all of it: the same run either way, to the last point."""
    stream, live, recorded = EventStream("r"), Store(), Store()
    stream.open_recorder(tmp_path / "a.pgrun")
    endpoint = stream.open_bus(f"ipc://{tmp_path}/s")
    common = {"metric": "time", "iterations": 1, "warmup": False}
    for index in range(20_000):
        case = f"t.py::test_{index // 5000}"
        stream.emit("round", **common, case=case, index=index, value=index % 7 / 8, phases={"a": 0.1})
        if index % 5000 == 4999:
            stream.emit("case_finished", case=case, status="passed", duration_s=1.0, message="")
    feed = LiveFeed(live, endpoint)
    feed.start()
    while live.snapshot().events < 20_004:
        assert feed.is_alive()
    stream.close()
    feed.join(30)
    replay = ReplayFeed(recorded, tmp_path / "a.pgrun")
    replay.start()
    replay.join(30)
    assert live.snapshot() == recorded.snapshot()
    points = [
        [series.points for case in store.snapshot().cases for series in case.series] for store in (live, recorded)
    ]
    assert repr(points[0]) == repr(points[1])
    assert sum(1 for _ in Replay(tmp_path / "a.pgrun").items()) < 20_004 / 2
