"""Overlap of copies and compute, measured from intervals: five figures, since each alone can mislead.

With C and K the unions of copy and compute intervals, T the wall time of the same scope, I = |C ∩ K|, and N layers.
Sums over streams are never used: two streams at once are one stretch of time. See docs/overlap.md for each figure's
ceiling and source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy.typing as npt

from perfguard.errors import MeasurementError
from perfguard.spans import intervals

# Two clocks (host and device) read the same stretch this much apart; more is a mismatch of scopes.
TOLERANCE = 1e-6
SCOPE_ADVICE = "count copies, compute and wall over the same scope, and merge what runs at once instead of adding it"


@dataclass(frozen=True, slots=True)
class Overlap:
    """What copies and compute share of `wall_s`. All times in seconds; a figure without its input is None.

    `copy_s`, `compute_s` are the lengths of the unions, `both_s` of their intersection, `busy_s` of both together.
    `serial_s`: the wall of the same work one after the other, measured. `copy_alone_s`, `compute_alone_s`: the same
    copies and the same compute with nothing beside them, measured.
    """

    copy_s: float
    compute_s: float
    both_s: float
    busy_s: float
    wall_s: float
    layers: int
    serial_s: float | None = None
    copy_alone_s: float | None = None
    compute_alone_s: float | None = None

    @property
    def shorter_s(self) -> float:
        """min(|C|, |K|): what could be hidden at most."""
        return min(self.copy_s, self.compute_s)

    @property
    def ideal_s(self) -> float:
        """The wall of a perfect two-stage pipeline: max(|C|, |K|) + min(|C|, |K|) / N, its filling or draining."""
        return max(self.copy_s, self.compute_s) + self.shorter_s / self.layers

    @property
    def overlap_efficiency(self) -> float | None:
        """Interval overlap: I / min(|C|, |K|), 0 to 1. None if there are no copies or no compute."""
        return _ratio(self.both_s, self.shorter_s)

    @property
    def overlap_ceiling(self) -> float:
        """(N-1)/N: in one pass the first copy has no compute beside it, or the last compute no copy."""
        return (self.layers - 1) / self.layers

    @property
    def copy_hidden(self) -> float | None:
        """I / |C|: the share of copy time behind which something was computed."""
        return _ratio(self.both_s, self.copy_s)

    @property
    def copy_hidden_ceiling(self) -> float | None:
        """min(1, |K| / |C|): copies longer than all compute cannot be hidden by it."""
        share = _ratio(self.compute_s, self.copy_s)
        return None if share is None else min(1.0, share)

    @property
    def pipeline_efficiency(self) -> float:
        """The ideal pipeline's wall over T; above 1 only where copies of the next pass fill this one's start."""
        return self.ideal_s / self.wall_s

    @property
    def overlapped_over_ideal(self) -> float | None:
        """T over the ideal pipeline's wall: the inverse of `pipeline_efficiency`, lower is better."""
        return _ratio(self.wall_s, self.ideal_s)

    @property
    def realised_saving(self) -> float | None:
        """(T_serial - T) / min(|C|, |K|): what the overlap really saved. Negative where it cost time."""
        return None if self.serial_s is None else _ratio(self.serial_s - self.wall_s, self.shorter_s)

    @property
    def copy_stretch(self) -> float | None:
        """|C| over the same copies alone: above 1 where compute slows them down."""
        return None if self.copy_alone_s is None else _ratio(self.copy_s, self.copy_alone_s)

    @property
    def compute_stretch(self) -> float | None:
        """|K| over the same compute alone: above 1 where copies slow it down."""
        return None if self.compute_alone_s is None else _ratio(self.compute_s, self.compute_alone_s)

    @property
    def utilisation(self) -> float:
        """|K| / T: the share of the wall in which at least one kernel ran. Never a share of kernel time."""
        return self.compute_s / self.wall_s

    @property
    def utilisation_with_copies(self) -> float:
        """The union of both over T: the share of the wall in which the device copied or computed."""
        return self.busy_s / self.wall_s


def overlap(
    copies: npt.ArrayLike,
    computes: npt.ArrayLike,
    *,
    wall_s: float,
    layers: int,
    serial_s: float | None = None,
    copy_alone_s: float | None = None,
    compute_alone_s: float | None = None,
) -> Overlap:
    """The overlap of two sets of intervals, each (n, 2): int64 nanoseconds or float64 seconds, on one clock.

    Intervals of several streams may overlap each other. Raises `MeasurementError` on bad intervals, on a total above
    `wall_s` (another scope), and on times or layers that are none.
    """
    scope = _positive("wall_s", wall_s)
    if isinstance(layers, bool) or not isinstance(layers, int) or layers < 1:
        raise MeasurementError("layers", f"{layers!r} is no number of layers", "a whole number, 1 or more")
    copied = intervals.union(intervals.as_intervals(copies, "copies"))
    computed = intervals.union(intervals.as_intervals(computes, "computes"))
    found = Overlap(
        copy_s=intervals.seconds(copied),
        compute_s=intervals.seconds(computed),
        both_s=intervals.seconds(intervals.intersection(copied, computed)),
        busy_s=intervals.seconds(intervals.union(copied, computed)),
        wall_s=scope,
        layers=layers,
        serial_s=None if serial_s is None else _positive("serial_s", serial_s),
        copy_alone_s=None if copy_alone_s is None else _positive("copy_alone_s", copy_alone_s),
        compute_alone_s=None if compute_alone_s is None else _positive("compute_alone_s", compute_alone_s),
    )
    _within(scope, {"copies": found.copy_s, "computes": found.compute_s, "copies and computes": found.busy_s})
    return found


@dataclass(frozen=True, slots=True)
class OverlapBounds:
    """All that totals without intervals say: `both_s` lies between `low_s` and `high_s`. Times in seconds."""

    copy_s: float
    compute_s: float
    wall_s: float

    @property
    def low_s(self) -> float:
        """max(0, |C| + |K| - T): what cannot fit into the wall without running at once."""
        return max(0.0, self.copy_s + self.compute_s - self.wall_s)

    @property
    def high_s(self) -> float:
        """min(|C|, |K|)."""
        return min(self.copy_s, self.compute_s)

    @property
    def overlap_efficiency(self) -> tuple[float, float] | None:
        """Both bounds over the shorter total; no single figure between them is known. None without either total."""
        return (self.low_s / self.high_s, 1.0) if self.high_s > 0 else None

    @property
    def utilisation(self) -> float:
        """|K| / T."""
        return self.compute_s / self.wall_s

    @property
    def utilisation_ceiling(self) -> float | None:
        """|K| / max(|C|, |K|): the utilisation if everything shorter were hidden."""
        return _ratio(self.compute_s, max(self.copy_s, self.compute_s))


def overlap_bounds(*, copy_s: float, compute_s: float, wall_s: float) -> OverlapBounds:
    """The bounds of an overlap of which only totals are known, each in seconds of the same scope.

    The totals must be lengths of unions. Raises `MeasurementError` on a total above `wall_s`: it counts another scope,
    or adds up what ran at once.
    """
    scope = _positive("wall_s", wall_s)
    totals = {"copy_s": copy_s, "compute_s": compute_s}
    for name, total in totals.items():
        if not (math.isfinite(total) and total >= 0):
            raise MeasurementError(name, f"{total!r} is no length of time", "seconds, 0 or more")
    _within(scope, totals)
    return OverlapBounds(float(copy_s), float(compute_s), scope)


def _within(wall_s: float, totals: dict[str, float]) -> None:
    for name, total in totals.items():
        if total > wall_s * (1 + TOLERANCE):
            raise MeasurementError(
                name, f"{total:.9g} s in a wall of {wall_s:.9g} s: the scopes don't match", SCOPE_ADVICE
            )


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise MeasurementError(name, f"{value!r} is no length of time", "seconds, more than 0")
    return float(value)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
