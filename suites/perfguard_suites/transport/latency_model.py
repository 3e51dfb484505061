"""How long a message takes as a function of its bytes, fitted from a sweep, and what that predicts for a mix.

time(sent, received) = base + S(sent) + R(received), with S and R monotone and piecewise linear: the cost per
byte changes where a message outgrows a cache or the allocator starts to map fresh pages, so one rate for all
sizes is wrong. Which knots to use is not believed but chosen by the error on sizes left out of the fit.
Pure: arrays in, a frozen model out; no clock, no channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

Array = npt.NDArray[np.float64]

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class SizePoint:
    """One size of the sweep: payload bytes each way and the seconds of each repetition."""

    sent_bytes: int
    received_bytes: int
    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The median repetition."""
        return float(np.median(self.seconds))


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """base_s + S(sent) + R(received): S and R rise by `*_rise_s[j]` from knot j to knot j+1, knot 0 being 0 bytes.

    Beyond the last knot the last slope goes on. `held_out_error`: the share of time mispredicted on sizes that
    were left out of the fit.
    """

    name: str
    base_s: float
    knots_bytes: tuple[float, ...]
    sent_rise_s: tuple[float, ...]
    received_rise_s: tuple[float, ...]
    held_out_error: float

    def predict_s(self, sent_bytes: npt.ArrayLike, received_bytes: npt.ArrayLike) -> Array:
        """Seconds of one message of each pair of sizes; shapes (n,) and (n,) in bytes, (n,) out."""
        sent, received = _columns(sent_bytes), _columns(received_bytes)
        rise_sent = _ramps(sent, self.knots_bytes) @ np.asarray(self.sent_rise_s)
        rise_received = _ramps(received, self.knots_bytes) @ np.asarray(self.received_rise_s)
        total: Array = self.base_s + rise_sent + rise_received
        return total


def fit(points: Sequence[SizePoint]) -> LatencyModel:
    """The model, among a straight line and several sets of knots, that predicts left-out sizes best.

    `points`: at least 4 different size pairs. Raises ValueError with fewer.
    """
    if len({(p.sent_bytes, p.received_bytes) for p in points}) < 4:
        raise ValueError("a size-latency fit needs at least 4 different sizes")
    candidates = {name: knots for name, knots in _knot_sets(points).items() if len(knots) * 2 < len(points)}
    models = [_fit(name, points, knots, _held_out_error(points, knots)) for name, knots in candidates.items()]
    return min(models, key=lambda model: model.held_out_error)


def fit_line(points: Sequence[SizePoint]) -> LatencyModel:
    """The straight line base + b x sent + c x received, for comparison with `fit`."""
    knots = (_largest(points),)
    return _fit("line", points, knots, _held_out_error(points, knots))


def echo_estimate_s(echo_s: float, echo_moved_bytes: int, total_bytes: int) -> float:
    """What one echo's rate promises for `total_bytes`: the estimate that misled (one size stands for all)."""
    return echo_s * total_bytes / echo_moved_bytes


def prediction_error(predicted_s: float, measured_s: float) -> float:
    """|predicted - measured| / measured, a fraction."""
    return abs(predicted_s - measured_s) / measured_s


def _largest(points: Sequence[SizePoint]) -> float:
    return float(max(max(p.sent_bytes, p.received_bytes) for p in points))


def _knot_sets(points: Sequence[SizePoint]) -> dict[str, tuple[float, ...]]:
    top = _largest(points)
    sizes = sorted({float(b) for p in points for b in (p.sent_bytes, p.received_bytes) if b > 0})
    return {
        "line": (top,),
        "two regimes": _below(top, (MIB,)),
        "three regimes": _below(top, (256 * KIB, 4 * MIB)),
        "curve": tuple(sizes),
        "thin curve": tuple(sizes[len(sizes) % 2 :: 2]) if len(sizes) > 3 else (top,),
    }


def _below(top: float, knots: tuple[float, ...]) -> tuple[float, ...]:
    return (*(float(k) for k in knots if k < top), top)


def _columns(values: npt.ArrayLike) -> Array:
    return np.atleast_1d(np.asarray(values, dtype=np.float64))


def _ramps(sizes: Array, knots: Sequence[float]) -> Array:
    """Shape (n, len(knots)): column j goes from 0 to 1 while the size goes from knot j-1 to knot j."""
    edges = np.concatenate([[0.0], np.asarray(knots, dtype=np.float64)])
    ramps: Array = (sizes[:, None] - edges[:-1]) / (edges[1:] - edges[:-1])
    ramps[:, :-1] = np.minimum(ramps[:, :-1], 1.0)
    return np.maximum(ramps, 0.0)


def _fit(name: str, points: Sequence[SizePoint], knots: tuple[float, ...], held_out_error: float) -> LatencyModel:
    sent = _columns([p.sent_bytes for p in points])
    received = _columns([p.received_bytes for p in points])
    seconds = _columns([p.median_s for p in points])
    design = np.hstack([np.ones((len(points), 1)), _ramps(sent, knots), _ramps(received, knots)])
    # Relative residuals: else the largest sizes alone would decide and small messages would be fitted by noise.
    weights = 1.0 / seconds
    rises, _residual = nnls(design * weights[:, None], seconds * weights)
    middle = 1 + len(knots)
    return LatencyModel(
        name=name,
        base_s=float(rises[0]),
        knots_bytes=knots,
        sent_rise_s=tuple(float(x) for x in rises[1:middle]),
        received_rise_s=tuple(float(x) for x in rises[middle:]),
        held_out_error=held_out_error,
    )


def _held_out_error(points: Sequence[SizePoint], knots: tuple[float, ...]) -> float:
    """Leave one size pair out, fit the rest, predict it: misprediction summed, over time summed."""
    missed = total = 0.0
    for index, left_out in enumerate(points):
        rest = [p for i, p in enumerate(points) if i != index]
        model = _fit("", rest, knots, 0.0)
        predicted = float(model.predict_s(left_out.sent_bytes, left_out.received_bytes)[0])
        missed += abs(predicted - left_out.median_s)
        total += left_out.median_s
    return missed / total
