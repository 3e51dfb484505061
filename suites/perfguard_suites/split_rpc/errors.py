"""What can go wrong between the trusted process and the server, each error with its culprit and what to do about it."""

from __future__ import annotations

from typing import ClassVar

from perfguard.errors import PerfguardError


class SplitError(PerfguardError):
    """Root of this suite's errors."""

    exit_status: ClassVar[int] = 1


class ConfigurationError(SplitError):
    """A model configuration that cannot be: the culprit is its field or its file."""


class CheckpointError(SplitError):
    """A checkpoint that does not hold what its configuration says: missing, superfluous or ill-shaped tensors."""


class UnknownOperation(SplitError):  # noqa: N818 - named for what happened
    """A request names an operation, a layer or a module that the server does not have, or with the wrong tensors."""


class BadReply(SplitError):  # noqa: N818 - named for what happened
    """The server's reply is not what was asked for: request id, method, number, shape or type of its tensors."""


class ServerFailed(SplitError):  # noqa: N818 - named for what happened
    """The server process did not start, does not answer, or holds another model than the client."""
