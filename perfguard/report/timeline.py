"""The course of a run in time, for traces and waterfalls: cases, stages, rounds, and the spans of some of its calls.

It is another fold over the events. A long run has millions of spans: of each case the first and the last calls that
were told are kept, and how many were left out is said.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from perfguard.events.schema import Event

FIRST_CALLS = LAST_CALLS = 8
MAX_ROUNDS = 2_000


@dataclass(frozen=True, slots=True)
class TimedSpan:
    """A phase of one call: its path, the lane it ran in ("" is the caller's), start and end on the run's clock."""

    path: str
    lane: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Stage:
    """From when on a case was set up, warmed up, measured."""

    name: str
    start_ns: int


@dataclass(slots=True)
class CaseTimeline:
    """One case in time. `end_ns` is None for one that did not end; `rounds` are (time, seconds per call) of `time`."""

    id: str
    start_ns: int
    end_ns: int | None = None
    stages: list[Stage] = field(default_factory=list)
    rounds: list[tuple[int, float]] = field(default_factory=list)
    first_calls: list[tuple[TimedSpan, ...]] = field(default_factory=list)
    last_calls: list[tuple[TimedSpan, ...]] = field(default_factory=list)
    left_out: int = 0

    @property
    def calls(self) -> Sequence[tuple[TimedSpan, ...]]:
        """The kept calls in order of time, each with its spans."""
        return [*self.first_calls, *self.last_calls]


@dataclass(slots=True)
class Timeline:
    """A run in time, as far as the events told it.

    Times are nanoseconds on the producer's monotonic clock; `epoch_ns` is what to add to make them Unix time.
    """

    epoch_ns: int = 0
    start_ns: int | None = None
    end_ns: int | None = None
    cases: dict[str, CaseTimeline] = field(default_factory=dict)
    noise: list[tuple[int, float, float]] = field(default_factory=list)

    def apply(self, event: Event) -> None:
        """Take one validated event in."""
        now_ns, kind = event["t_ns"], event["kind"]
        if self.start_ns is None:
            self.start_ns = now_ns
        self.end_ns = now_ns
        if kind == "run_started":
            self.epoch_ns = unix_ns(event["started"]) - now_ns
        elif kind == "machine_noise":
            self.noise.append((now_ns, float(event["others"]), float(event["steal"])))
        elif kind == "case_started":
            self.cases[event["case"]] = CaseTimeline(event["case"], now_ns)
        elif (case := self.cases.get(event.get("case", ""))) is not None:
            _into(case, event)


def _into(case: CaseTimeline, event: Event) -> None:
    now_ns, kind = event["t_ns"], event["kind"]
    if kind == "case_finished":
        case.end_ns = now_ns
    elif kind == "stage":
        case.stages.append(Stage(event["stage"], now_ns))
    elif kind == "round" and event["metric"] == "time" and not event["warmup"] and len(case.rounds) < MAX_ROUNDS:
        case.rounds.append((now_ns, float(event["value"])))
    elif kind == "spans" and (spans := spans_of(event["spans"])):
        if len(case.first_calls) < FIRST_CALLS:
            case.first_calls.append(spans)
            return
        case.last_calls.append(spans)
        if len(case.last_calls) > LAST_CALLS:
            del case.last_calls[0]
            case.left_out += 1


def spans_of(raw: Iterable[object]) -> tuple[TimedSpan, ...]:
    """The spans of an event; what is none (a recording may come from anywhere) is passed over."""
    spans = []
    for each in raw:
        if not isinstance(each, list | tuple) or len(each) != 4:
            continue
        path, lane, start_ns, end_ns = each
        if isinstance(path, str) and isinstance(lane, str) and isinstance(start_ns, int) and isinstance(end_ns, int):
            spans.append(TimedSpan(path, lane, start_ns, max(start_ns, end_ns)))
    return tuple(spans)


def unix_ns(iso: str) -> int:
    """An ISO 8601 time as nanoseconds since 1970; 0 for what is none."""
    try:
        moment = dt.datetime.fromisoformat(iso.replace("Z", "+00:00"))
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    return round(moment.timestamp() * 1e6) * 1000


def told(events: Iterable[Event]) -> Timeline:
    """The timeline of a whole stream of validated events."""
    timeline = Timeline()
    for event in events:
        timeline.apply(event)
    return timeline


def waterfall(timeline: Timeline | None, case_id: str) -> tuple[TimedSpan, ...]:
    """The spans of one call of a case: of those kept, the one whose length is nearest the median round's.

    Spans are told at intervals, which long calls are more likely to hit: the median of the kept ones would be too long.
    Empty if none is known.
    """
    case = None if timeline is None else timeline.cases.get(case_id)
    if case is None or not case.calls:
        return ()
    lengths = [value_s * 1e9 for _, value_s in case.rounds] or [_length_ns(call) for call in case.calls]
    typical_ns = statistics.median(lengths)
    return min(case.calls, key=lambda call: abs(_length_ns(call) - typical_ns))


def _length_ns(call: Sequence[TimedSpan]) -> int:
    return max(span.end_ns for span in call) - min(span.start_ns for span in call)


def lanes(spans: Iterable[TimedSpan]) -> Mapping[str, list[TimedSpan]]:
    """Spans by lane, the caller's first, each lane in order of start and longest first."""
    found: dict[str, list[TimedSpan]] = {"": []}
    for span in spans:
        found.setdefault(span.lane, []).append(span)
    return {
        lane: sorted(those, key=lambda span: (span.start_ns, -span.end_ns)) for lane, those in found.items() if those
    }
