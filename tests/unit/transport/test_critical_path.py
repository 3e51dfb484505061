"""The critical path of a round trip as spans."""

from __future__ import annotations

import pytest

from perfguard_suites.transport.channel import Message, Stamps
from perfguard_suites.transport.errors import MalformedMessage
from perfguard_suites.transport.roundtrip import RoundTrip, critical_path

REQUEST, REPLY = Stamps(10, 20, 30, 40, 50), Stamps(60, 70, 80, 90, 100)


@pytest.mark.parametrize(("kind", "moved"), [("shm", "wake_up"), ("shm-zmq", "wire"), ("naive-tcp", "wire")])
def test_spans_are_named_ordered_and_contiguous(kind: str, moved: str) -> None:
    """Nine spans, each beginning where the one before ended."""
    spans = critical_path(kind, REQUEST, REPLY)
    assert [span.name for span in spans] == [
        "request/copy",
        "request/pack",
        f"request/{moved}",
        "request/unpack",
        "server",
        "reply/copy",
        "reply/pack",
        f"reply/{moved}",
        "reply/unpack",
    ]
    assert [span.start_ns for span in spans[1:]] == [span.end_ns for span in spans[:-1]]
    assert (spans[0].start_ns, spans[-1].end_ns) == (10, 100)


def test_unaccounted_is_what_no_span_claims() -> None:
    """The caller's way in and out of the channel is left over, exactly."""
    trip = RoundTrip("shm", Message("echo", stamps=REPLY, request_stamps=REQUEST), 7, 104)
    assert trip.unaccounted_ns == 3 + 4
    assert sum(span.end_ns - span.start_ns for span in trip.spans) + trip.unaccounted_ns == 104 - 7


def test_a_reply_without_stamps_has_no_path() -> None:
    """A server that returns no stamps is named, not guessed at."""
    with pytest.raises(MalformedMessage):
        _ = RoundTrip("shm", Message("echo"), 0, 1).spans
