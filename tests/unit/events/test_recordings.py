"""Recordings: what is written is read back; what is cut off or foreign gets a clear answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import event_story
import pytest

from perfguard.errors import EventError
from perfguard.events import EventStream, Replay
from perfguard.events.framing import LENGTH, MAGIC, record_of
from perfguard.events.recorder import Recorder
from perfguard.events.schema import pack

if TYPE_CHECKING:
    from pathlib import Path


def _record(path: Path, events: list[dict[str, object]]) -> bytes:
    recorder = Recorder(path)
    for event in events:
        recorder.append(record_of(pack(event)), str(event["kind"]), int(str(event["t_ns"])))
    recorder.close()
    return path.read_bytes()


def test_a_recording_gives_back_the_events(tmp_path: Path) -> None:
    """Replaying a recording yields what the producer's fold saw, to the last event."""
    stream, seen = EventStream("r1"), []
    stream.subscribe(seen.append)
    stream.open_recorder(tmp_path / "run.pgrun")
    event_story.tell(stream)
    stream.close()
    replay = Replay(tmp_path / "run.pgrun")
    replayed = list(replay)
    assert [(e["seq"], e["kind"], e["t_ns"]) for e in replayed] == [(e["seq"], e["kind"], e["t_ns"]) for e in seen]
    assert (replay.end_reason, replay.bad, replay.gaps) == ("", 0, 0)
    assert replay.end_offset == (tmp_path / "run.pgrun").stat().st_size


def test_cut_anywhere_a_recording_yields_all_before_the_cut(tmp_path: Path) -> None:
    """For every length of a small file: exactly the whole events before the cut, and the offset of the end."""
    told = event_story.events(event_story.CASES[:1], rounds=2)
    whole = _record(tmp_path / "whole.pgrun", told)
    ends = [len(MAGIC)]
    for event in told:
        ends.append(ends[-1] + len(record_of(pack(event))))
    path = tmp_path / "cut.pgrun"
    for size in range(len(MAGIC), len(whole) + 1):
        path.write_bytes(whole[:size])
        replay = Replay(path)
        count = sum(end <= size for end in ends) - 1
        assert list(replay) == told[:count]
        assert replay.end_offset == ends[count]
        assert bool(replay.end_reason) == (size != ends[count])
    for size in range(len(MAGIC)):
        path.write_bytes(whole[:size])
        with pytest.raises(EventError, match=r"cut\.pgrun"):
            Replay(path)


def test_steps_are_on_disk_at_once(tmp_path: Path) -> None:
    """What a kill leaves behind: every event up to the last step of a case, without any close."""
    stream = EventStream("r1")
    stream.open_recorder(tmp_path / "run.pgrun")
    count = event_story.tell(stream)
    assert sum(1 for _ in Replay(tmp_path / "run.pgrun")) == count
    stream.close()


def test_garbage_frames_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    """A whole frame that is no event is passed over and counted."""
    told = event_story.events(event_story.CASES[:1], rounds=2)
    blobs = [record_of(b"\xc1garbage"), record_of(pack(told[0])), record_of(b""), record_of(pack(told[1]))]
    (tmp_path / "a.pgrun").write_bytes(MAGIC + b"".join(blobs))
    replay = Replay(tmp_path / "a.pgrun")
    assert list(replay) == told[:2]
    assert replay.bad == 2


def test_a_length_beyond_the_limit_ends_the_replay(tmp_path: Path) -> None:
    """A corrupted length is not believed: no gigabytes are read for it."""
    (tmp_path / "a.pgrun").write_bytes(MAGIC + LENGTH.pack(2**32 - 1) + b"x" * 100)
    replay = Replay(tmp_path / "a.pgrun")
    assert list(replay) == []
    assert "4294967295" in replay.end_reason
    assert replay.end_offset == len(MAGIC)


def test_duplicates_are_given_once_and_gaps_counted(tmp_path: Path) -> None:
    """Numbers tell what came twice and what is missing."""
    told = event_story.events(event_story.CASES[:1], rounds=2)
    _record(tmp_path / "a.pgrun", [told[0], told[1], told[1], told[4]])
    replay = Replay(tmp_path / "a.pgrun")
    assert list(replay) == [told[0], told[1], told[4]]
    assert (replay.duplicates, replay.gaps) == (1, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "not a recording"), (b"# TOML?\n" * 9, "not a recording"), (MAGIC[:-1] + b"\x03", "layout 3")],
)
def test_a_file_that_is_no_recording_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """Wrong first bytes, or another layout: an EventError with the file's name."""
    (tmp_path / "a.pgrun").write_bytes(content)
    with pytest.raises(EventError, match=words) as caught:
        Replay(tmp_path / "a.pgrun")
    assert "a.pgrun" in caught.value.culprit


def test_an_earlier_recording_is_replaced_and_other_files_are_not(tmp_path: Path) -> None:
    """A slip of the path never empties a file that is not a recording."""
    path = tmp_path / "a.pgrun"
    told = event_story.events(event_story.CASES[:1], rounds=2)
    _record(path, told)
    _record(path, told[:3])
    assert list(Replay(path)) == told[:3]
    source = tmp_path / "test_mine.py"
    source.write_text("def test(): ...\n")
    with pytest.raises(EventError, match=r"test_mine\.py.*not a recording"):
        Recorder(source)
    assert source.read_text() == "def test(): ...\n"


def test_two_recordings_to_one_file_are_refused(tmp_path: Path) -> None:
    """The second run is told, the first one goes on."""
    first = Recorder(tmp_path / "a.pgrun")
    with pytest.raises(EventError, match="another run"):
        Recorder(tmp_path / "a.pgrun")
    first.close()
    Recorder(tmp_path / "a.pgrun").close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A missing folder, a folder in the place of the file: the error names them."""
    with pytest.raises(EventError, match="nowhere"):
        Recorder(tmp_path / "nowhere" / "a.pgrun")
    (tmp_path / "folder.pgrun").mkdir()
    with pytest.raises(EventError, match=r"folder\.pgrun"):
        Recorder(tmp_path / "folder.pgrun")
