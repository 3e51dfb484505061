"""Frames of many rounds: what they stand for, what does not fit, and that none is believed unseen."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.errors import EventError
from perfguard.events import EventStream, Replay
from perfguard.events.framing import MAGIC, frames_in, record_of
from perfguard.events.gather import MOST_ROUNDS, Gatherer
from perfguard.events.protocol import one_by_one, unpack_request
from perfguard.events.rounds import MAX_ROUNDS, Rounds, decode, joined
from perfguard.events.schema import pack, unpack

COMMON = {"metric": "time", "iterations": 10, "warmup": False}


def _fields(index: int, **changes: Any) -> dict[str, Any]:
    phases = {"a": index / 8, "a/b": 0.5} if index % 3 else None
    return {**COMMON, "case": f"c{index % 2}", "index": index, "value": index / 4, "phases": phases, **changes}


def _frame(rounds: int = 9, first: int = 0) -> bytes:
    gatherer = Gatherer("r", "main")
    for index in range(first, first + rounds):
        assert gatherer.add(index, index * 1000, _fields(index))
    ((frame, seq, events),) = gatherer.frames()
    assert (seq, events) == (first, rounds)
    return frame


def _events(rounds: int = 9, first: int = 0) -> list[dict[str, Any]]:
    envelope = {"v": 1, "run": "r", "src": "main", "kind": "round"}
    return [{**envelope, "seq": i, "t_ns": i * 1000, **_fields(i)} for i in range(first, first + rounds)]


def test_a_frame_is_the_events_it_was_made_of() -> None:
    """Each field of each, of the very types that single events have; parts, joined ones and chosen ones too."""
    whole = decode(_frame())
    assert isinstance(whole, Rounds)
    assert list(map(repr, map(sorted, map(dict.items, whole)))) == list(
        map(repr, map(sorted, map(dict.items, _events())))
    )
    assert list(whole.part(2, 5)) == _events()[2:5]
    (both,) = joined([decode(_frame(6)), decode(_frame(6, first=6))], 1000)
    assert isinstance(both, Rounds)
    assert list(both) == _events(12)
    assert list(both.chosen(both.index % 2 == 1)) == _events(12)[1::2]


def test_a_viewer_of_before_gets_single_events() -> None:
    """A request that names no version is of the first, and its answer holds what that version reads."""
    assert unpack_request([msgpack.packb({"v": 1, "ask": "since", "seq": 0})]).reads == 1
    note = {"v": 1, "run": "r", "src": "main", "seq": 9, "t_ns": 9000, "kind": "note", "case": "c", "text": "so"}
    blob = record_of(_frame()) + record_of(pack(note))
    assert [unpack(frame) for frame in frames_in(one_by_one(blob))] == [*_events(), note]


def test_recordings_of_before_still_open(tmp_path: Path) -> None:
    """Layout 1, of single events only."""
    path = tmp_path / "old.pgrun"
    path.write_bytes(MAGIC[:-1] + b"\x01" + b"".join(record_of(pack(event)) for event in _events()))
    replay = Replay(path)
    assert list(replay) == _events()
    assert (replay.end_reason, replay.bad, replay.gaps) == ("", 0, 0)


def test_frames_that_overlap_give_each_event_once(tmp_path: Path) -> None:
    """What an interrupt made the producer write twice."""
    path = tmp_path / "twice.pgrun"
    frames = [_frame(5), _frame(9), _frame(3, first=12)]
    path.write_bytes(MAGIC + b"".join(map(record_of, frames)))
    replay = Replay(path)
    assert [event["seq"] for event in replay] == [*range(9), 12, 13, 14]
    assert (replay.duplicates, replay.gaps) == (5, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"value": 3},
        {"value": 2**70},
        {"index": 2**63},
        {"iterations": -(2**64) + 2**63 - 1},
        {"phases": {}},
        {"phases": {"a": 3}},
        {"case": "x" * 70_000},
        {"case": "\N{SNOWMAN}"},
    ],
)
def test_what_has_no_column_goes_by_itself(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Whatever a round holds, what is recorded is what one event after the other would have been."""
    paths = [tmp_path / "gathered.pgrun", tmp_path / "single.pgrun"]
    told = [_fields(0), _fields(1), _fields(2) | changes, _fields(3)]
    for path in paths:
        stream = EventStream("r")
        stream.open_recorder(path)
        try:
            for fields in told:
                stream.emit("round", **fields)
                if path == paths[1]:
                    stream._flush()
        except EventError:  # beyond what msgpack can say
            assert "value" in changes or "iterations" in changes
        finally:
            stream.close()
    found = [[{**event, "t_ns": 0} for event in Replay(path)] for path in paths]
    assert found[0] == found[1]


def test_a_round_is_what_it_was_when_it_was_emitted(tmp_path: Path) -> None:
    """Phases changed by their owner afterwards change nothing; wrong fields are the caller's error at once."""
    stream = EventStream("r")
    stream.open_recorder(tmp_path / "a.pgrun")
    phases = {"a": 1.0}
    for index in range(4):
        stream.emit("round", **_fields(index, phases=phases))
        phases["a"] += 1.0
        with pytest.raises(EventError, match="round"):
            stream.emit("round", **_fields(index, phases={"a": object()}))
        with pytest.raises(EventError, match="round"):
            stream.emit("round", **_fields(index, case="\udc80"))
    stream.close()
    assert [event["phases"] for event in Replay(tmp_path / "a.pgrun")] == [{"a": i + 1.0} for i in range(4)]


def test_frames_stay_small_enough_to_be_pushed(tmp_path: Path) -> None:
    """So many rounds, or so many phases, and the frame is full."""
    stream = EventStream("r")
    stream.open_recorder(tmp_path / "a.pgrun")
    for index in range(3 * MOST_ROUNDS):
        stream.emit("round", **_fields(index, phases={f"p{i}": 1.0 for i in range(100)}))
    stream.close()
    frames = frames_in((tmp_path / "a.pgrun").read_bytes()[len(MAGIC) :])
    assert max(map(len, frames)) < 64 * 1024
    assert sum(1 for _ in Replay(tmp_path / "a.pgrun")) == 3 * MOST_ROUNDS


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "round"},
        {"run": 1},
        {"src": None},
        {"seq": -1},
        {"seq": True},
        {"seq": 2**60},
        {"n": 0},
        {"n": 8},
        {"n": MAX_ROUNDS + 1},
        {"n": 9.0},
        {"t_ns": b""},
        {"t_ns": [0] * 9},
        {"t_ns": struct.pack("<9q", *range(9, 0, -1))},
        {"series": []},
        {"series": [["a", "b", "c"]] * 2},
        {"series": [["a", 1], ["b", "c"]]},
        {"series": ["ab", "cd"]},
        {"series": [["a", "t"]] * 10},
        {"row": struct.pack("<9H", *[2] * 9)},
        {"row": struct.pack("<8H", *[0] * 8)},
        {"index": "123456789" * 8},
        {"iterations": 2**63},
        {"iterations": True},
        {"value": bytes(71)},
        {"warmup": bytes([2] * 9)},
        {"warmup": None},
        {"paths": [None, ["a", 1]]},
        {"paths": [None, "ab"]},
        {"paths": [["a"]]},
        {"shape": struct.pack("<9H", *[9] * 9)},
        {"phases": bytes(8)},
    ],
)
def test_columns_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    """Every field is checked before one event is believed."""
    raw = msgpack.unpackb(_frame(), strict_map_key=True) | changes
    with pytest.raises(EventError):
        decode(msgpack.packb(raw))


def test_a_frame_cut_anywhere_is_refused() -> None:
    """However much of it came."""
    frame = _frame()
    for size in range(len(frame)):
        with pytest.raises(EventError):
            decode(frame[:size])


@given(st.binary(max_size=200), st.integers(0, 600), st.binary(min_size=1, max_size=3))
def test_bytes_of_somebody_elses_are_refused_or_whole(junk: bytes, at: int, patch: bytes) -> None:
    """Garbage behind the mark of such a frame, or a frame with bytes changed: an error, or rounds of equal columns."""
    frame = _frame()
    for hostile in (frame[:8] + junk, frame[:at] + patch + frame[at + len(patch) :]):
        try:
            item = decode(hostile)
        except EventError:
            continue
        if isinstance(item, Rounds):
            assert all(event["kind"] == "round" for event in item)
