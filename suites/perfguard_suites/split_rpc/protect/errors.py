"""What a protection level refuses, each error with its culprit and what to do about it."""

from __future__ import annotations

from typing import ClassVar

from perfguard.errors import PerfguardError


class ProtectionError(PerfguardError):
    """Root of the protection levels' errors; the culprit is the layer and modules at fault."""

    exit_status: ClassVar[int] = 1


class QuantisationOverflow(ProtectionError):  # noqa: N818 - named for what happened
    """A layer's integers could leave the field: the message names the bound that does not hold."""


class UnquantisableInput(ProtectionError):  # noqa: N818 - named for what happened
    """A tensor that no fixed point can hold: NaN, infinity, or of the wrong shape or dtype."""


class MasksExhausted(ProtectionError):  # noqa: N818 - named for what happened
    """Fewer unused masks are left than the call needs; says how many are missing. None is taken."""


class MaskReused(ProtectionError):  # noqa: N818 - named for what happened
    """A one-time mask was asked to hide, or to reveal, a second time."""


class MalformedReply(ProtectionError):  # noqa: N818 - named for what happened
    """A reply that cannot be the product of the message: wrong count, shape, dtype, or outside the field."""


class ServerLied(ProtectionError):  # noqa: N818 - named for what happened
    """A reply that is not the product of the message and the weights; the rows at fault are named."""
