"""What can go wrong in the serving stack, each error with its culprit and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from perfguard.errors import PerfguardError


class StagedError(PerfguardError):
    """Root of this suite's errors."""

    exit_status: ClassVar[int] = 1


class BackendError(StagedError):
    """A batch that the model runtime cannot compute, or did not: nothing of it is in the KV cache afterwards.

    `sequences`: those at fault, where the runtime can tell; empty where any may be.
    """

    def __init__(self, culprit: str, problem: str, advice: str = "", *, sequences: Sequence[int] = ()) -> None:
        super().__init__(culprit, problem, advice)
        self.sequences = tuple(sequences)


class BackendUnavailable(StagedError):  # noqa: N818 - named for what happened
    """A model runtime that is not installed here, or cannot open its model file."""


class ModelFileError(StagedError):
    """A model file that is cut off, is none, or holds what cannot be; the culprit names it."""


class InvalidRequest(StagedError):  # noqa: N818 - named for what happened
    """A request that cannot be served as it is. `param`: the field at fault; `status`, `code`: as OpenAI has them."""

    def __init__(self, param: str, problem: str, *, status: int = 400, code: str = "invalid_value") -> None:
        super().__init__(param or "request", problem)
        self.param = param
        self.status = status
        self.code = code


class QueueFull(StagedError):  # noqa: N818 - named for what happened
    """More requests wait than the queue holds. `retry_after_s`: when there should be room."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__("queue", f"{waiting} requests wait already", f"try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class ReplayError(StagedError):
    """A recorded batch schedule that these requests cannot follow."""


class ServiceFailed(StagedError):  # noqa: N818 - named for what happened
    """The server or the load client did not start, did not end, or broke off."""


class ChannelBroken(StagedError):  # noqa: N818 - named for what happened
    """Engine and front end do not understand each other any more, or one does not listen."""


class EngineLost(StagedError):  # noqa: N818 - named for what happened
    """The engine's process has ended, and with it every request that it had."""
