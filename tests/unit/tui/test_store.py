"""The store: the same fold for live, replay and tests; bounded, frozen, unimpressed by nonsense."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import event_story
import pytest
from event_story import CASES, MODULE

from perfguard.events import EventStream
from perfguard.events.schema import Event
from perfguard_tui.feed import Feed, FeedStatus
from perfguard_tui.reducers import MAX_NOTES, MAX_SERIES, MAX_SPANS, RECENT_SAMPLES
from perfguard_tui.store import Store
from perfguard_tui.views import RunView

SLOWER = f"{MODULE}::test_round_trip[10MiB-shm]"


def _event(kind: str, seq: int = 0, **fields: Any) -> Event:
    return {"v": 1, "run": "r", "src": "main", "seq": seq, "t_ns": seq, "kind": kind, **fields}


def _fold(events: list[Event]) -> RunView:
    store = Store()
    store.apply_all(events)
    return store.snapshot()


def test_a_whole_run_comes_out_as_it_was_told() -> None:
    """Verdicts, states, the gate and the exit status."""
    run = _fold(event_story.events())
    assert [case.verdict for case in run.cases] == [told.verdict for told in CASES]
    assert [case.state for case in run.cases] == ["passed"] * 9 + ["failed"]
    assert (run.done, run.running, run.exit_status, run.bad) == (10, None, 1, 0)
    assert dict(run.tally)["slower"] == 1
    assert run.gate is not None
    assert run.gate.slower == (SLOWER,)
    assert (run.run_id, run.profile, run.machine_class) == ("20251121-0913-a1b2", "standard", "epyc-9354-2c")


def test_the_producer_itself_feeds_the_store() -> None:
    """What `EventStream` emits is what the store understands, nothing passed over."""
    store, stream = Store(), EventStream("r1")
    stream.subscribe(store.apply)
    count = event_story.tell(stream)
    run = store.snapshot()
    assert (run.events, run.bad, run.done) == (count, 0, 10)


def test_the_alarm_rings_once_for_what_the_snapshot_lacks() -> None:
    """When something comes in, at once if it had come before; when a feed's state changes. The latest alarm counts."""
    store, rung = Store(), list[str]()
    store.apply(_event("case_started", case="a"))
    store.alarm(lambda: rung.append("late"))
    assert rung == ["late"]
    store.snapshot()
    store.alarm(lambda: rung.append("replaced"))
    store.alarm(lambda: rung.append("event"))
    assert rung == ["late"]
    for seq in (1, 2):
        store.apply(_event("note", seq, case="a", text="n"))
    assert rung == ["late", "event"]
    store.snapshot()
    feed = Feed(store)
    store.alarm(lambda: rung.append("state"))
    feed.status = FeedStatus()
    assert rung == ["late", "event"]
    feed.status = FeedStatus("lost")
    assert rung == ["late", "event", "state"]


def test_a_running_case_shows_its_rounds_so_far() -> None:
    """Stage, samples without the warm-up, live phases that close with the call's time."""
    events = event_story.events()
    begin = next(i for i, e in enumerate(events) if e["kind"] == "case_started" and e["case"] == SLOWER)
    run = _fold(events[: begin + 32])
    case = run.case(SLOWER)
    assert case is not None
    assert (run.running, case.state, case.stage) == (SLOWER, "running", "measure")
    (series,) = case.series
    assert (series.metric, series.warmup, series.n) == ("time", 5, len(series.recent))
    assert series.n > 5
    assert dict(case.live_phases).keys() == {"rpc", "rpc/copy", "rpc/pack", "rpc/wire", "rpc/wake", "rpc/unpack"}
    assert sum(dict(case.live_phases).values()) < case.live_call_s
    assert case.verdict is None


def test_every_prefix_of_a_run_can_be_shown() -> None:
    """A viewer may look after any event."""
    store = Store()
    for event in event_story.events(CASES[4:6], rounds=3):
        store.apply(event)
        run = store.snapshot()
        assert run.done + (run.running is not None) <= len(run.cases)


def test_an_event_out_of_the_blue_makes_its_case() -> None:
    """A reader that missed the plan still shows what comes."""
    run = _fold([_event("case_started", case="pkg/test_a.py::test_b[1]")])
    (case,) = run.cases
    assert (case.name, case.suite, case.state) == ("test_b[1]", "test_a.py", "running")


def test_snapshots_are_frozen_and_kept_as_long_as_nothing_comes() -> None:
    """The screen compares by identity; cases that did not change keep their image."""
    store = Store()
    store.apply_all(event_story.events())
    first = store.snapshot()
    assert store.snapshot() is first
    store.apply(_event("note", case=SLOWER, text="late"))
    second = store.snapshot()
    assert [a is b for a, b in zip(first.cases, second.cases, strict=True)].count(False) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        second.done = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "event",
    [
        _event("metric", case="c", metric={}),
        _event("metric", case="c", metric={"name": "x", "kind": "colour"}),
        _event("account", case="c", account={"wall_s": "long"}),
        _event("spans", case="c", round=0, spans=[["a", "b"]]),
        _event("spans", case="c", round=0, spans=["abc"]),
        _event("verdict", case="c", metric="none", verdict="same", change=None, baseline=None, limit=0.1),
        _event("case_finished", case="c", status="exploded", duration_s=1.0, message=""),
        _event("run_started", started="", profile="", machine={}, commit={}, plan=[1, 2]),
        _event("round", case="c", metric="t", index=0, iterations=1, value=1.0, warmup=False, phases={"a": "b"}),
    ],
)
def test_wrong_inner_shapes_are_counted_not_believed(event: Event) -> None:
    """The schema checks the outside of an event; what is wrong inside is passed over."""
    run = _fold([event, _event("note", 1, case="c", text="still here")])
    assert run.bad == 1
    assert next(case for case in run.cases if case.id == "c").notes == ("still here",)


def test_kinds_of_a_newer_version_are_passed_over() -> None:
    """They are counted as events and nothing else."""
    run = _fold([_event("telepathy", of="the machine")])
    assert (run.events, run.bad) == (1, 0)


def test_memory_per_case_is_bounded() -> None:
    """However many rounds, spans, notes and metrics come, a fixed number is kept; the counts go on."""
    store = Store()
    for seq in range(5000):
        fields: dict[str, Any] = {"index": seq, "iterations": 1, "warmup": False, "phases": {"a": 1.0}}
        store.apply(_event("round", seq, case="c", metric="time", value=float(seq), **fields))
        store.apply(_event("round", seq, case="c", metric=f"m{seq}", value=1.0, **fields))
        store.apply(_event("note", seq, case="c", text=str(seq)))
    store.apply(_event("spans", 9, case="c", round=0, spans=[["a", "", i, i + 1] for i in range(9000)]))
    (case,) = store.snapshot().cases
    assert len(case.series) == MAX_SERIES
    assert case.series[0].n == 5000
    assert case.series[0].recent == tuple(float(i) for i in range(5000 - RECENT_SAMPLES, 5000))
    assert (len(case.spans), len(case.notes), case.notes[-1]) == (MAX_SPANS, MAX_NOTES, "4999")


def test_the_store_needs_no_user_interface() -> None:
    """Importing it imports neither Textual nor rich nor pytest."""
    code = "import sys, perfguard_tui.store; print(sorted({'textual', 'rich', 'pytest'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_rows_that_come_into_view_are_up_to_date_though_nothing_more_comes() -> None:
    """Cases off the screen may wait for their turn; once they are on it they do not."""
    store, cases = Store(), [f"t.py::test_{number}" for number in range(60)]
    fields: dict[str, Any] = {"metric": "time", "iterations": 1, "value": 1.0, "warmup": False, "phases": None}
    for turn in range(2):
        store.apply_all(_event("round", 60 * turn + i, case=case, index=turn, **fields) for i, case in enumerate(cases))
        store.snapshot(cases[:1])
    case = store.snapshot(cases[-1:]).case(cases[-1])
    assert case is not None
    assert case.series[0].n == 2
    assert store.snapshot(cases[-1:]) is store.snapshot(cases[-1:])
