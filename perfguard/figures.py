"""Figures that a case reports: checked, summarised, and turned into a `Metric`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from perfguard.document import DIRECTIONS, EXACT_KINDS, Direction, Kind, Metric, check_figure
from perfguard.errors import MeasurementError
from perfguard.units import check_unit

if TYPE_CHECKING:
    from perfguard.measure import Comparison
    from perfguard.stats.quantiles import Interval

MAX_SAMPLES = 10_000


def checked_metric(
    name: str,
    value: float | Iterable[float],
    *,
    unit: str,
    kind: Kind,
    direction: Direction | None = None,
    gated: bool = True,
    limit: float | None = None,
    default_limit: float,
) -> Metric:
    """The metric of one figure or of its samples, with the 95 % interval of their median.

    `direction` defaults to "higher" for throughputs, else "lower"; `limit` to 0 for exact kinds, else to
    `default_limit`. Raises `MeasurementError` if a figure is not finite or no number, there is none, the unit does
    not fit the kind, or an exact kind is not whole.
    """
    from perfguard.stats.quantiles import median_interval

    check_unit(kind, unit, name)
    if direction is not None and direction not in DIRECTIONS:
        raise MeasurementError(name, f"direction {direction!r}", "'lower' or 'higher' is better")
    values = _figures(name, value)
    if kind in EXACT_KINDS and any(v != int(v) for v in values):
        raise MeasurementError(name, f"a {kind} of {values[0]!r} is not exact", "record a ratio or a fraction")
    direction = direction or ("higher" if kind == "throughput" else "lower")
    interval = median_interval(values)
    return metric_of(
        name,
        values,
        interval,
        unit=unit,
        kind=kind,
        direction=direction,
        gated=gated,
        limit=limit,
        default_limit=default_limit,
    )


def metric_of(  # noqa: PLR0913 - the words of a metric, by name
    name: str,
    values: Sequence[float],
    interval: Interval,
    *,
    unit: str,
    kind: Kind,
    direction: Direction = "lower",
    gated: bool = True,
    limit: float | None = None,
    default_limit: float,
    fastest: float | None = None,
    reference_s: float | None = None,
) -> Metric:
    """The metric of samples whose interval is known."""
    fallback = 0.0 if kind in EXACT_KINDS else default_limit
    return Metric(
        name=name,
        unit=unit,
        direction=direction,
        kind=kind,
        gated=gated,
        n=len(values),
        median=interval.estimate,
        ci=(interval.low, interval.high),
        confidence=interval.confidence,
        samples=tuple(float(v) for v in thinned(values)),
        limit=fallback if limit is None else limit,
        fastest=fastest,
        reference_s=reference_s,
    )


class FigureBook:
    """The figures that one case records, each name once; `keep` says what becomes of a checked metric.

    Raises `MeasurementError` from `record` for what is no figure, and for a name that is taken.
    """

    def __init__(self, default_limit: float, keep: Callable[[Metric], None]) -> None:
        self.default_limit = default_limit
        self._keep = keep
        self._names: set[str] = set()

    def record(
        self,
        name: str,
        value: float | Iterable[float],
        *,
        unit: str,
        kind: Kind = "time",
        direction: Direction | None = None,
        gated: bool = True,
        limit: float | None = None,
    ) -> None:
        """Record a figure that the case measured itself: one value, or samples of it."""
        metric = checked_metric(
            name,
            value,
            unit=unit,
            kind=kind,
            direction=direction,
            gated=gated,
            limit=limit,
            default_limit=self.default_limit,
        )
        self.claim(name)
        self._keep(metric)

    def record_ratio(self, comparison: Comparison, metric: str, name: str, reference: str, **options: Any) -> None:
        """Record the ratio of two compared alternatives, name over reference, under a name of its own."""
        self.record(metric, comparison.ratios(name, reference).tolist(), unit="", kind="ratio", **options)

    def record_ratios(self, comparison: Comparison, reference: str, *, gated: bool) -> None:
        """Record the ratio of every other alternative to `reference`, as `<name>_over_<reference>`."""
        for name in comparison.times_s:
            if name != reference:
                self.record_ratio(comparison, f"{name}_over_{reference}", name, reference, gated=gated)

    def claim(self, name: str) -> None:
        """Take a name. Raises `MeasurementError` if it is taken."""
        if name in self._names:
            advice = (
                "call the fixture once a test: parametrise, or use perfguard.compare"
                if name == "time"
                else "give each metric of a case a name of its own"
            )
            raise MeasurementError(name, "is recorded twice in one case", advice)
        self._names.add(name)


def thinned(values: Sequence[float]) -> Sequence[float]:
    """At most `MAX_SAMPLES` of the values, evenly spaced in order of measurement."""
    if len(values) <= MAX_SAMPLES:
        return values
    step = len(values) / MAX_SAMPLES
    return [values[int(i * step)] for i in range(MAX_SAMPLES)]


def _figures(name: str, value: float | Iterable[float]) -> list[float]:
    try:
        raw = list(value) if isinstance(value, Iterable) else [value]
        values = [check_figure(name, v) for v in raw]
    except (TypeError, ValueError) as error:
        raise MeasurementError(name, f"{value!r:.80} is no figure", "record a number or a sequence of them") from error
    if not values:
        raise MeasurementError(name, "no samples", "record at least one figure")
    return values
