"""What can go wrong in the simulator, each error with its culprit and what to do about it."""

from __future__ import annotations

from typing import ClassVar

from perfguard.errors import PerfguardError


class SimulatorError(PerfguardError):
    """Root of the simulator's errors; the culprit is the file and key, the shape, or the option at fault."""

    exit_status: ClassVar[int] = 1


class HardwareError(SimulatorError):
    """A hardware description that cannot be: unknown preset, or a figure that is missing, negative or unitless."""


class ShapeError(SimulatorError):
    """A matrix product that cannot be: an extent of zero, or so large that nobody can mean it."""


class NoTileFits(SimulatorError):  # noqa: N818 - named for what happened
    """No tile of the menu fits the double-buffered SRAM of a core; the culprit names shape and capacity."""


class CalibrationError(SimulatorError):
    """Measurements that constants cannot be fitted to, or constants that are none; the culprit is file and line."""


class CacheError(SimulatorError):
    """A folder that cannot hold the cache of results."""


class ModelError(SimulatorError):
    """A model that cannot be, or whose description cannot be read: the culprit is its field, or file and key."""


class ConfigurationError(SimulatorError):
    """An option of the simulation or the request that cannot be; the culprit is the option, and its file."""


class LayoutError(SimulatorError):
    """A model that cannot be spread like this: extents that do not divide, more devices than the links join."""


class ModelDoesNotFit(SimulatorError):  # noqa: N818 - named for what happened
    """Weights, cache and activations exceed a device's memory; the message has the bytes of each."""


class ImpossibleFigure(SimulatorError):  # noqa: N818 - named for what happened
    """A utilisation above 1: a peak figure or a cost model is wrong, and clamping it would hide that."""
