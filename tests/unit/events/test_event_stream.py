"""The producer: numbering, folds, what may and may not raise."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest
from event_story import tell

from perfguard.errors import EventError
from perfguard.events import EventStream, Replay
from perfguard.events.schema import Event

if TYPE_CHECKING:
    from pathlib import Path


def test_folds_get_every_event_numbered_without_gaps() -> None:
    """An in-process fold sees every event, in order, with the envelope of the schema."""
    stream, seen = EventStream("r1", src="worker"), []
    stream.subscribe(seen.append)
    count = tell(stream)
    assert [event["seq"] for event in seen] == list(range(count))
    assert {(event["run"], event["src"], event["v"]) for event in seen} == {("r1", "worker", 1)}
    assert all(a["t_ns"] <= b["t_ns"] for a, b in itertools.pairwise(seen))


def test_a_field_that_cannot_be_packed_is_the_callers_error_and_takes_no_number(tmp_path: Path) -> None:
    """A foreign type raises EventError naming the kind; the recording stays without a gap."""
    stream = EventStream("r1")
    stream.open_recorder(tmp_path / "a.pgrun")
    stream.emit("note", case="c", text="before")
    with pytest.raises(EventError, match="note"):
        stream.emit("note", case="c", text=object())
    stream.emit("note", case="c", text="after")
    stream.close()
    replay = Replay(tmp_path / "a.pgrun")
    assert [event["text"] for event in replay] == ["before", "after"]
    assert replay.gaps == 0


def test_threads_share_a_stream(tmp_path: Path) -> None:
    """Events of several threads are recorded each once, in the order of their numbers."""
    stream = EventStream("r1")
    stream.open_recorder(tmp_path / "a.pgrun")

    def emit() -> None:
        for _ in range(500):
            stream.emit("case_started", case="c")

    threads = [threading.Thread(target=emit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stream.close()
    assert [event["seq"] for event in Replay(tmp_path / "a.pgrun")] == list(range(2000))


def test_a_fold_may_emit() -> None:
    """A fold that answers an event with another does not lock the stream up."""
    stream, kinds = EventStream("r1"), []

    def answer(event: Event) -> None:
        kinds.append(event["kind"])
        if event["kind"] == "case_started":
            stream.emit("note", case="c", text="seen")

    stream.subscribe(answer)
    stream.emit("case_started", case="c")
    assert kinds == ["case_started", "note"]


def test_closed_twice_and_emitting_after_it_are_harmless(tmp_path: Path) -> None:
    """After close the file is let go; late events reach folds only."""
    stream = EventStream("r1")
    stream.open_recorder(tmp_path / "a.pgrun")
    stream.emit("case_started", case="c")
    stream.close()
    stream.close()
    stream.emit("case_started", case="late")
    assert [event["case"] for event in Replay(tmp_path / "a.pgrun")] == ["c"]
