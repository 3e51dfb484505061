"""What can go wrong while weights are streamed, each error with its culprit and what to do about it."""

from __future__ import annotations

from typing import ClassVar

from perfguard.errors import PerfguardError


class StreamingError(PerfguardError):
    """Root of this suite's errors."""

    exit_status: ClassVar[int] = 1


class StreamingConfigError(StreamingError):
    """A streaming configuration that cannot be: the culprit is its field."""


class WeightsFileError(StreamingError):
    """A weights file that does not hold what it should: truncated, damaged, missing or ill-typed tensors."""


class WeightsChanged(StreamingError):  # noqa: N818 - named for what happened
    """A weights file was written to or cut off after it was opened: its layers no longer belong together."""


class ReadFailed(StreamingError):  # noqa: N818 - named for what happened
    """The system could not read a layer, or its reader died; the culprit is the layer, its file and the place."""


class ReadStalled(StreamingError):  # noqa: N818 - named for what happened
    """A layer did not arrive within the time that the caller allows."""
