"""The snapshot for late viewers: complete within its bound, honest beyond it."""

from __future__ import annotations

from perfguard.events.framing import frames_in, record_of
from perfguard.events.history import OVERHEAD_BYTES, SEGMENT_EVENTS, Chunk, History


def _record(seq: int, size: int = 100) -> bytes:
    return record_of(seq.to_bytes(8, "little") + b"x" * (size - 8))


def _numbers(history: History, start: int = 0, chunk_bytes: int = 10_000) -> list[int]:
    numbers, position = [], start
    while True:
        chunk = history.since(position, chunk_bytes)
        numbers += [int.from_bytes(frame[:8], "little") for frame in frames_in(chunk.blob)]
        position = chunk.next_seq
        if position == chunk.head:
            return numbers


def test_within_the_bound_everything_is_given_in_chunks() -> None:
    """Chunks are bounded, joined they are all records from the asked number on."""
    history = History(0)
    for seq in range(3 * SEGMENT_EVENTS):
        history.append(_record(seq), "round" if seq % 3 else "note")
    assert _numbers(history) == list(range(3 * SEGMENT_EVENTS))
    assert _numbers(history, 2000) == list(range(2000, 3 * SEGMENT_EVENTS))
    assert len(history.since(0, 10_000).blob) <= 10_000


def test_who_has_everything_is_given_nothing() -> None:
    """A viewer that asks whether there is more does not get the last record again, however large it is."""
    history = History(0)
    history.append(b"x" * 1000, "run_started")
    history.append(b"y" * 1000, "rounds", events=5)
    assert history.since(6, 10**6) == Chunk(b"", 6, 6)
    assert history.since(5, 10**6) == Chunk(b"y" * 1000, 6, 6), "a record that holds the number, though it began before"


def test_a_record_larger_than_a_chunk_is_given_alone() -> None:
    """There is always progress."""
    history = History(0)
    for seq in range(3):
        history.append(_record(seq, 5000), "metric")
    assert _numbers(history, chunk_bytes=10) == [0, 1, 2]


def test_over_the_bound_rounds_go_first_oldest_first() -> None:
    """Steps of the run stay as long as rounds can make room; what went is counted."""
    limit = 2000 * (104 + OVERHEAD_BYTES)
    history = History(0, limit)
    for seq in range(8 * SEGMENT_EVENTS):
        history.append(_record(seq), "note" if seq % 16 == 0 else "round")
        assert history.size_bytes <= limit
    numbers = _numbers(history)
    assert [seq for seq in numbers if seq % 16 == 0] == list(range(0, 8 * SEGMENT_EVENTS, 16))
    rounds = [seq for seq in numbers if seq % 16]
    assert rounds
    assert min(rounds) > 4 * SEGMENT_EVENTS
    assert len(numbers) + history.shed_events == 8 * SEGMENT_EVENTS


def test_the_opening_outlives_everything() -> None:
    """Even where only steps are left, the bound holds and the plan of the run stays."""
    limit = 500 * (104 + OVERHEAD_BYTES)
    history = History(0, limit)
    for seq in range(8 * SEGMENT_EVENTS):
        history.append(_record(seq), "note")
        assert history.size_bytes <= limit
    numbers = _numbers(history)
    assert numbers[0] == 0
    assert len(numbers) + history.shed_events == 8 * SEGMENT_EVENTS


def test_a_history_that_began_late_starts_at_its_first_number() -> None:
    """A bus opened in the middle of a run has nothing from before."""
    history = History(1500)
    for seq in range(1500, 1600):
        history.append(_record(seq), "round")
    assert _numbers(history) == list(range(1500, 1600))
    assert history.since(10**9, 1000).next_seq == 1600
