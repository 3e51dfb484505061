"""What can go wrong on a channel, each error with its culprit and what to do about it."""

from __future__ import annotations

from typing import ClassVar

from perfguard.errors import PerfguardError


class ChannelError(PerfguardError):
    """Root of the transport's errors; the culprit is the endpoint, field or option at fault."""

    exit_status: ClassVar[int] = 1


class PeerDied(ChannelError):  # noqa: N818 - named for what happened
    """The process at the other end closed the connection or died."""


class ChannelTimeout(ChannelError):  # noqa: N818 - named for what happened
    """The wait was longer than the caller allows."""


class CapacityExceeded(ChannelError):  # noqa: N818 - named for what happened
    """A message is larger than the channel can ever carry, or more is on loan than fits; says what to set."""


class MalformedMessage(ChannelError):  # noqa: N818 - named for what happened
    """What the peer sent is no message: wrong schema, truncated, out of bounds, unknown dtype."""


class UnsendableMessage(ChannelError):  # noqa: N818 - named for what happened
    """What the caller wants to send cannot travel: a foreign dtype, too many tensors, a name too long."""


class ChannelUnavailable(ChannelError):  # noqa: N818 - named for what happened
    """A channel of that kind cannot be opened here: unknown, not on this platform, refused, or no server."""


class RemoteError(ChannelError):
    """The server answered with an error instead of a result; the culprit is the method called."""
