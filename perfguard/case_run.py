"""One case being measured: what it records, as events and for judgement at its end.

Everything a case tells goes out as events; the `Case` itself is folded from them (`perfguard.events.fold`), so
nothing can be in the report that was not in the stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from perfguard.document import Metric
from perfguard.errors import MeasurementError
from perfguard.events import EventStream
from perfguard.figures import FigureBook, metric_of
from perfguard.measure import Comparison, Plan, Round, Samples, compare_in_turn, sample
from perfguard.measure.blocks import Target, prepared
from perfguard.measure.clock import Clock
from perfguard.measure.reference import SpeedMeter
from perfguard.measure.sampling import Observer
from perfguard.pictures import KEY, MAX_PICTURES, Picture, to_map
from perfguard.spans.account import AccountBuilder
from perfguard.spans.recorder import RoundPhases, Span
from perfguard.stats.quantiles import Interval, median_interval

MAX_NOTE = 4_000
SPANS_EVERY_NS = 100_000_000  # a waterfall ten times a second is as often as anybody looks
MAX_EVENT_SPANS = 256
MOST_REPEATS = 2  # a case that looks slower is measured at most so many more times


class CaseRun:
    """Records one case: `measure`, `compare` and `record` emit events; the session judges it at the end."""

    def __init__(
        self,
        case_id: str,
        stream: EventStream,
        plan: Plan,
        limit: float,
        device: str,
        clock: Clock,
        looks_slower: Callable[[Metric], bool] = lambda _: False,
    ) -> None:
        self.case_id = case_id
        self.stream = stream
        self.plan = plan
        self.limit = limit
        self.device = device
        self.clock = clock
        self.figures = FigureBook(limit, self._emit_metric)
        self.looks_slower = looks_slower
        self.samples: Samples | None = None
        self.speed = SpeedMeter()
        self.repeats = 0
        self._spans_due_ns = 0
        self._extra: dict[str, Any] = {}

    # -- what the fixture calls

    def measure(
        self,
        fn: Callable[..., Any] | Target,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        sampler: Callable[[Target, Plan, Observer, Clock], Samples] = sample,
    ) -> Any:
        """Sample `fn(*args, **kwargs)` as the metric `time`; returns what its last call returned."""
        self.figures.claim("time")
        self.figures.claim("account")
        with prepared(fn, args, kwargs, self.device) as target:
            self.samples = samples = sampler(target, self.plan, self, self.clock)
        self._emit_metric(self._time_metric(samples.values_s, samples.interval))
        if self.repeats:
            self.note(f"looked slower: measured {1 + self.repeats} times as long to be sure")
        self.stream.emit("account", case=self.case_id, account=asdict(samples.account))
        for text in samples.notes:
            self.note(text)
        if not samples.settled:
            self.note("warm-up did not settle within its bound: the first samples may still be warming up")
        return target.result

    def compare(
        self,
        alternatives: Mapping[str, Callable[[], Any]],
        reference: str | None,
        record: bool,
        gated: bool,
        *,
        block_s: float,
        settle: bool,
    ) -> Comparison:
        """Time the alternatives interleaved; record each one's time and, by default, its ratio to `reference`."""
        self.stage("compare", {"alternatives": float(len(alternatives)), "budget_s": self.plan.budget_s})
        comparison, first = compare_in_turn(
            alternatives,
            reference,
            self.plan,
            self._on_compared,
            self.clock,
            seed=self.case_id,
            device=self.device,
            block_s=block_s,
            settle=settle,
        )
        for name in alternatives:
            self.figures.claim(f"{name}_time")
            self._emit_time(f"{name}_time", comparison.time(name), comparison.times_s[name].tolist(), gated=False)
        if record:
            self.figures.record_ratios(comparison, first, gated=gated)
        return comparison

    def account(self, calls: Iterable[tuple[float, Mapping[str, float]]]) -> None:
        """Record an account that the case put together itself: wall seconds and seconds by phase of each call."""
        self.figures.claim("account")
        builder = AccountBuilder()
        for wall_s, phases in calls:
            totals = {path: _nanoseconds(path, seconds) for path, seconds in phases.items()}
            flat = {path: (ns, ns, 1) for path, ns in totals.items()}
            builder.add(_nanoseconds("wall", wall_s), 1, RoundPhases(flat, [], overlapping=False))
        if not builder.calls:
            raise MeasurementError("account", "no calls", "give the wall time and the phases of one at least")
        self.stream.emit("account", case=self.case_id, account=asdict(builder.build()))

    def note(self, text: str) -> None:
        """A sentence for the report of this case."""
        self.stream.emit("note", case=self.case_id, text=str(text)[:MAX_NOTE])

    def describe(self, extra: Mapping[str, Any]) -> None:
        """Facts about this case for whoever reads the document: plain JSON values only."""
        self._extra |= extra
        self.stream.emit("extra", case=self.case_id, extra=dict(self._extra))

    def picture(self, picture: Picture) -> None:
        """One more picture of this case, among its facts."""
        shown = [*self._extra.get(KEY, ()), to_map(picture)]
        if len(shown) > MAX_PICTURES:
            raise MeasurementError(f"picture {picture.title!r}", f"one more than the {MAX_PICTURES} a case may have")
        self.describe({KEY: shown})

    # -- what sampling tells (measure.sampling.Observer)

    def stage(self, stage: str, detail: dict[str, float]) -> None:
        """A stage of the measurement begins."""
        self.stream.emit("stage", case=self.case_id, stage=stage, detail=detail)

    def round(self, done: Round) -> None:
        """A block has been timed."""
        self.stream.emit(
            "round",
            case=self.case_id,
            metric="time",
            index=done.index,
            iterations=done.iterations,
            value=done.value_s,
            warmup=done.warmup,
            phases=done.phases or None,
        )
        self.speed.tick()
        if done.spans and (now_ns := self.clock()) >= self._spans_due_ns:
            self._spans_due_ns = now_ns + SPANS_EVERY_NS
            spans = one_call(done.spans, done.iterations)
            self.stream.emit("spans", case=self.case_id, round=done.index, spans=[list(span) for span in spans])

    def again(self, values_s: Sequence[float]) -> bool:
        """Whether the time looks slower than the baseline: a burst of a neighbour passes, a slowdown stays."""
        if self.repeats >= MOST_REPEATS or not values_s:
            return False
        if not self.looks_slower(self._time_metric(values_s, median_interval(values_s, self.plan.confidence))):
            return False
        self.repeats += 1
        return True

    def _on_compared(self, index: int, row: dict[str, float]) -> None:
        for name, value in row.items():
            self.stream.emit(
                "round",
                case=self.case_id,
                metric=f"{name}_time",
                index=index,
                iterations=1,
                value=value,
                warmup=False,
                phases=None,
            )

    # -- inner

    def _emit_time(self, name: str, interval: Interval, values: Sequence[float], *, gated: bool = True) -> None:
        self._emit_metric(
            metric_of(name, values, interval, unit="s", kind="time", gated=gated, default_limit=self.limit)
        )

    def _time_metric(self, values_s: Sequence[float], interval: Interval) -> Metric:
        return metric_of(
            "time",
            values_s,
            interval,
            unit="s",
            kind="time",
            default_limit=self.limit,
            fastest=min(values_s) or None,  # zero: the clock was too coarse to tell
            reference_s=self.speed.fastest_s,
        )

    def _emit_metric(self, metric: Metric) -> None:
        self.stream.emit("metric", case=self.case_id, metric=asdict(metric))


def _nanoseconds(what: str, seconds: float) -> int:
    if not (math.isfinite(seconds) and seconds >= 0):
        raise MeasurementError(f"account: {what}", f"{seconds!r} is no time", "give seconds")
    return round(seconds * 1e9)


def one_call(spans: Sequence[Span], iterations: int) -> Sequence[Span]:
    """The spans of about one call out of a block of `iterations`, bounded for an event."""
    share = len(spans) if iterations <= 1 else max(1, len(spans) // iterations)
    return spans[: min(share, MAX_EVENT_SPANS)]
