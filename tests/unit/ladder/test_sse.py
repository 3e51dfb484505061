"""Claims about server-sent events: however the bytes are cut, the events are the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.ladder.http import HttpError
from perfguard.ladder.sse import MAX_EVENT_BYTES, EventSplitter

STREAM = b"""\
: a comment

data: {"a": 1}

event: x
id: 7
data: two
data: lines

data:tight

data: [DONE]

data: unfinished"""
EVENTS = [b'{"a": 1}', b"two\nlines", b"tight", b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM) * 2), max_size=8), st.sampled_from([b"\n", b"\r\n"]))
def test_events_do_not_depend_on_how_bytes_arrive(cuts: list[int], newline: bytes) -> None:
    """Cut anywhere, within a line end too, with either kind of line end: the same data, and nothing unfinished."""
    stream = STREAM.replace(b"\n", newline)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    splitter = EventSplitter()
    found = [event for begin, end in pairwise(edges) for event in splitter.feed(stream[begin:end])]
    assert found == EVENTS


def test_an_event_without_end_is_refused() -> None:
    """A stream that never ends an event does not fill the memory."""
    splitter = EventSplitter()
    assert splitter.feed(b"data: " + bytes(MAX_EVENT_BYTES // 2)) == []
    with pytest.raises(HttpError, match="more than 4 MiB"):
        splitter.feed(bytes(MAX_EVENT_BYTES // 2))
