"""A round trip: one request and its reply, and the critical path through both processes as named spans."""

from __future__ import annotations

import itertools
from time import perf_counter_ns
from typing import NamedTuple

from perfguard_suites.transport.channel import Channel, Message, Stamps
from perfguard_suites.transport.errors import ChannelTimeout, MalformedMessage, RemoteError

ERROR = "error"


class Span(NamedTuple):
    """A named stretch of the critical path, on the one clock of both processes."""

    name: str
    start_ns: int
    end_ns: int


def critical_path(kind: str, request: Stamps, reply: Stamps) -> tuple[Span, ...]:
    """The nine spans of a round trip, in order and contiguous from `request.begun_ns` to `reply.unpacked_ns`.

    On `shm` the time between packed and arrived is the wake-up. On ZeroMQ an application cannot see a frame's
    arrival apart from its own waking, so that the same stretch is called `wire`.
    """
    moved = "wake_up" if kind == "shm" else "wire"
    return (
        Span("request/copy", request.begun_ns, request.copied_ns),
        Span("request/pack", request.copied_ns, request.packed_ns),
        Span(f"request/{moved}", request.packed_ns, request.arrived_ns),
        Span("request/unpack", request.arrived_ns, request.unpacked_ns),
        Span("server", request.unpacked_ns, reply.begun_ns),
        Span("reply/copy", reply.begun_ns, reply.copied_ns),
        Span("reply/pack", reply.copied_ns, reply.packed_ns),
        Span(f"reply/{moved}", reply.packed_ns, reply.arrived_ns),
        Span("reply/unpack", reply.arrived_ns, reply.unpacked_ns),
    )


class RoundTrip(NamedTuple):
    """A reply, and when the caller began and had it."""

    kind: str
    reply: Message
    begin_ns: int
    end_ns: int

    @property
    def spans(self) -> tuple[Span, ...]:
        """The critical path. Raises `MalformedMessage` if the server returned no stamps."""
        reply = self.reply
        if reply.stamps is None or reply.request_stamps is None:
            raise MalformedMessage("reply", "carries no stamps")
        return critical_path(self.kind, reply.request_stamps, reply.stamps)

    @property
    def unaccounted_ns(self) -> int:
        """The part of the round trip that no span claims: the caller's own way into and out of the channel."""
        spans = self.spans
        return (self.end_ns - self.begin_ns) - (spans[-1].end_ns - spans[0].start_ns)


class Client:
    """Calls over a channel, one at a time."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._ids = itertools.count(1)

    def call(self, message: Message, timeout_s: float = 10.0) -> RoundTrip:
        """Send `message` and wait for its reply; replies to calls given up earlier are dropped.

        Raises `RemoteError` if the server answers with an error, and the channel's own errors.
        """
        begin_ns = perf_counter_ns()
        channel = self.channel
        request_id = next(self._ids)
        channel.send(Message(message.method, message.tensors, message.attributes, request_id), timeout_s)
        reply = channel.recv(timeout_s)
        while reply.request_id != request_id and not (reply.method == ERROR and reply.request_id == 0):
            left_s = timeout_s - (perf_counter_ns() - begin_ns) / 1e9
            if left_s <= 0:
                raise ChannelTimeout(channel.endpoint, f"no reply to {message.method!r} within {timeout_s} s")
            reply = channel.recv(left_s)
        end_ns = perf_counter_ns()
        if reply.method == ERROR:
            raise RemoteError(
                f"method {message.method!r}",
                str(reply.attributes.get("problem", "failed")),
                str(reply.attributes.get("advice", "")),
            )
        return RoundTrip(channel.kind, reply, begin_ns, end_ns)
