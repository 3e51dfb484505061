"""The fold from events to what the dashboard keeps of a run: one small function per kind of event.

All state is bounded: so many cases, so many samples, notes and spans per case, whatever the stream holds.
An event whose inner shape is wrong raises KeyError, TypeError, ValueError or AttributeError; the store counts it.
"""

from __future__ import annotations

import itertools
import statistics
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from perfguard.document import (
    STATUSES,
    VERDICTS,
    Account,
    BaselineReference,
    Gate,
    Metric,
    Verdict,
    account_from_map,
    change_from_map,
    metric_from_map,
)
from perfguard.events.schema import Event
from perfguard_tui.latest import LatestEvents, Phased
from perfguard_tui.points import LEAST, Floats, Integers, Points, limit_for
from perfguard_tui.views import WORST_FIRST, CaseState, CaseView, LogEntry, RunView, SeriesView, SpanView

MAX_CASES = 20_000
MAX_METRICS = 200
MAX_SERIES = 16
MAX_PATHS = 200
MAX_SPANS = 1000
MAX_NOTES = 50
RECENT_SAMPLES = 120
MOST_EARLY = LEAST // 4
RECENT_ROUNDS = 32
MAX_LOG = 1000
MAX_READINGS = 1000
MAX_CALLS = 8
MAX_STAGES = 64
OTHERS_A_TICK = 20  # cases off the screen whose latest samples a tick takes in
_MANY_CASES = 500  # from here on each keeps fewer of its samples
RATE_WINDOW_S = 2.0
LEARN_S = 0.4  # between two looks at the latest rounds for the phases of what is on the screen
RATE_STEP_NS = int(RATE_WINDOW_S * 1e9 / 16)


def kept_recent(limit: int) -> int:
    """How many of the latest values a series keeps that may keep `limit` points."""
    return min(RECENT_SAMPLES, limit)


@dataclass(slots=True)
class Series:
    """What is kept of one metric's rounds."""

    early: int = 0  # so many points before the limit it is thinned: thousands that are told in turn not all at once
    warmup: int = 0
    recent: array[float] = field(default_factory=lambda: array("d"))
    points: Points = field(default_factory=Points)

    def view(self, metric: str, limit: int) -> SeriesView:
        """The frozen image."""
        recent = tuple(self.recent[-kept_recent(limit) :])
        median = statistics.median(recent) if recent else 0.0
        return SeriesView(metric, self.points.n, self.warmup, recent, median, self.points.arrays())

    def add(self, t_s: float, index: int, value: float, limit: int) -> None:
        """One more round."""
        self.points.add(t_s, index, value, limit - self.early)
        self.recent.append(value)
        if len(self.recent) >= 2 * LEAST and len(self.recent) >= 2 * kept_recent(limit):
            del self.recent[: -kept_recent(limit)]

    def extend(self, t_s: Floats, index: Integers, value: Floats, limit: int) -> None:
        """Many more, in their order."""
        self.points.extend(t_s, index, value, limit - self.early)
        self.recent.frombytes(value[-RECENT_SAMPLES:].tobytes())
        if len(self.recent) >= 2 * kept_recent(limit):
            del self.recent[: -kept_recent(limit)]

    def fit(self, limit: int) -> None:
        """Keep no more than is now allowed."""
        self.points.fit(limit - self.early)
        del self.recent[: -kept_recent(limit)]


def _mean_phases(rounds: list[Phased]) -> tuple[float, tuple[tuple[str, float], ...]]:
    """Seconds of a call and self seconds of each phase, as means over these rounds."""
    self_s: dict[str, float] = {}
    for _, phases in rounds:
        for path, part_s in phases.items():
            self_s[path] = self_s.get(path, 0.0) + part_s / len(rounds)
    return statistics.fmean(value for value, _ in rounds), tuple(self_s.items())


@dataclass(slots=True)
class CaseFold:
    """What is kept of one case; `view` is its frozen image."""

    id: str
    suite: str
    name: str
    key: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    state: CaseState = "planned"
    stage: str = ""
    metrics: dict[str, Metric] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    live_phases: tuple[tuple[str, float], ...] = ()
    live_call_s: float = 0.0
    account: Account | None = None
    calls: dict[int, tuple[SpanView, ...]] = field(default_factory=dict)
    spans: tuple[SpanView, ...] = ()
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_NOTES))
    duration_s: float = 0.0
    began_s: float | None = None
    ended_s: float | None = None
    stages: list[tuple[str, float]] = field(default_factory=list)

    def view(self, limit: int) -> CaseView:
        """The frozen image, its series of at most `limit` points."""
        return CaseView(
            id=self.id,
            suite=self.suite,
            name=self.name,
            key=self.key,
            params=self.params,
            extra=self.extra,
            state=self.state,
            stage=self.stage,
            metrics=tuple(self.metrics.values()),
            series=tuple(series.view(name, limit) for name, series in self.series.items()),
            account=self.account,
            live_phases=self.live_phases,
            live_call_s=self.live_call_s,
            spans=self.spans,
            calls=tuple(self.calls.items()),
            notes=tuple(self.notes),
            duration_s=self.duration_s,
            began_s=self.began_s,
            ended_s=self.ended_s,
            stages=tuple(self.stages),
        )


@dataclass(slots=True)
class RunFold:
    """What is kept of a run."""

    run_id: str = ""
    profile: str = ""
    machine_class: str = ""
    commit: str = ""
    cases: dict[str, CaseFold] = field(default_factory=dict)
    running: str | None = None
    events: int = 0
    first_ns: int | None = None
    last_ns: int = 0
    rate: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=64))  # (t_ns, events until then)
    rate_ns: int = 0
    others: float | None = None
    steal: float | None = None
    gate: Gate | None = None
    exit_status: int | None = None
    bad: int = 0
    machine: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    series: int = 0
    limit: int = limit_for(1)  # points of each of them
    log: deque[LogEntry] = field(default_factory=lambda: deque(maxlen=MAX_LOG))
    noise: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=MAX_READINGS))
    raw: LatestEvents = field(default_factory=LatestEvents)
    # The images of the cases as last shown, and which of them are out of date: a tick costs what changed in it.
    images: list[CaseView] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    stale: dict[str, bool] = field(default_factory=dict)  # in the order of coming; whether rounds with phases came
    urgent: set[str] = field(default_factory=set)  # changed by more than one more sample
    learnt_s: float = 0.0
    states: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)

    def say(self, case_id: str, text: str, role: str = "text") -> None:
        """A line for the log."""
        self.log.append(LogEntry(self.now_s, case_id, text, role))

    @property
    def now_s(self) -> float:
        """Seconds from the first event to the latest."""
        return 0.0 if self.first_ns is None else (self.last_ns - self.first_ns) / 1e9

    def case(self, case_id: str) -> CaseFold:
        """The case of that id, made if it is new; its image is taken to be out of date."""
        case = self.cases.get(case_id)
        if case is None:
            if len(self.cases) >= MAX_CASES:
                raise ValueError(f"more than {MAX_CASES} cases")
            suite, _, name = case_id.rpartition("::")
            case = self.cases[case_id] = CaseFold(case_id, suite.rpartition("/")[2], name)
        self.urgent.add(case_id)
        return case

    def outdate(self, case_id: str, phased: bool) -> None:
        """The image of that case is out of date; `phased`: by rounds that may have phases."""
        if phased:
            self.stale[case_id] = True
        else:
            self.stale.setdefault(case_id, False)

    def count(self, t_ns: int) -> None:
        """One more event, of that time."""
        self.events += 1
        if self.first_ns is None:
            self.first_ns = t_ns
        if t_ns > self.last_ns:
            self.last_ns = t_ns
            if t_ns > self.rate_ns:
                self.rate_ns = t_ns + RATE_STEP_NS
                self.rate.append((t_ns, self.events))

    def view(self, shown: Collection[str] | None = None) -> RunView:
        """The frozen image of the whole run; the latest samples of cases that are not `shown` may come late."""
        self._refresh(shown)
        return RunView(
            run_id=self.run_id,
            profile=self.profile,
            machine_class=self.machine_class,
            commit=self.commit,
            cases=tuple(self.images),
            running=self.running,
            done=sum(self.states.values()) - self.states["planned"] - self.states["running"],
            events=self.events,
            events_per_s=self._events_per_s(),
            elapsed_s=self.now_s,
            others=self.others,
            steal=self.steal,
            gate=self.gate,
            exit_status=self.exit_status,
            bad=self.bad,
            tally=tuple((word, self.verdicts[word]) for word in WORST_FIRST if self.verdicts[word]),
            machine=self.machine,
            started=self.started,
            log=tuple(self.log),
            noise=tuple(self.noise),
        )

    def learn_phases(self, cases: Collection[str]) -> None:
        """The live phases of these cases, out of the latest rounds; they are not worth a sum at every event."""
        for case_id, rounds in self.raw.phased(cases, RECENT_ROUNDS).items():
            case = self.cases[case_id]
            case.live_call_s, case.live_phases = _mean_phases(rounds)

    def new_series(self, case: CaseFold, metric: str) -> Series | None:
        """A series for that metric; None if the case has its share. All become shorter when there are many."""
        if len(case.series) >= MAX_SERIES:
            return None
        series = case.series[metric] = Series(early=self.series % MOST_EARLY)
        self.series += 1
        limit = limit_for(self.series)
        if limit < self.limit:
            self.limit = limit
            for other in self.cases.values():
                for one in other.series.values():
                    one.fit(limit)
                self.outdate(other.id, False)
        return series

    def _refresh(self, shown: Collection[str] | None) -> None:
        """Bring images up to date: of `shown` cases all, of others what is urgent and a few more each time."""
        wanted = self.stale if shown is None else [*shown, *itertools.islice(self.stale, OTHERS_A_TICK)]
        due = self.urgent.union(case_id for case_id in wanted if case_id in self.stale)
        later = self._learn({case_id for case_id in due if self.stale.get(case_id)}, at_once=shown is None)
        for case_id in self.cases if len(self.images) < len(self.cases) else due:
            place = self.places.get(case_id)
            if place is not None and case_id not in due:
                continue
            self._replace(place, self.cases[case_id].view(self.limit))
        self.urgent.clear()
        for case_id in due - later:
            self.stale.pop(case_id, None)

    def _learn(self, cases: set[str], *, at_once: bool) -> set[str]:
        """Learn the phases of these cases, unless it is too soon for that; returns those that are to be learnt yet."""
        now_s = time.monotonic()
        if not at_once and now_s - self.learnt_s < LEARN_S:
            return cases
        self.learnt_s = now_s
        self.learn_phases(cases)
        return set()

    def _replace(self, place: int | None, image: CaseView) -> None:
        if place is None:
            self.places[image.id] = len(self.images)
            self.images.append(image)
        else:
            before, self.images[place] = self.images[place], image
            self.states[before.state] -= 1
            self.verdicts[before.verdict or ""] -= 1
        self.states[image.state] += 1
        self.verdicts[image.verdict or ""] += 1

    def _events_per_s(self) -> float:
        begin_ns = self.last_ns - RATE_WINDOW_S * 1e9
        since = next(((t_ns, events) for t_ns, events in self.rate if t_ns >= begin_ns), None)
        if since is None or self.last_ns <= since[0]:
            return 0.0
        return (self.events - since[1]) / ((self.last_ns - since[0]) / 1e9)


def _run_started(run: RunFold, event: Event) -> None:
    run.run_id = event["run"]
    run.profile = event["profile"]
    run.machine, run.started = event["machine"], event["started"]
    run.machine_class = str(event["machine"].get("class", ""))
    run.commit = str(event["commit"].get("id", ""))[:12] + ("+" if event["commit"].get("dirty") else "")
    for planned in event["plan"]:
        case = run.case(str(planned["id"]))
        case.suite = str(planned.get("suite", case.suite))
        case.key = str(planned.get("key", case.id))
        case.params = dict(planned.get("params", {}))
    run.say("", f"run {run.run_id} begins: {len(event['plan'])} cases", "bold")


def _case_started(run: RunFold, event: Event) -> None:
    case = run.case(event["case"])
    case.state, case.began_s = "running", run.now_s
    case.stages = [("setup", run.now_s)]
    run.running = event["case"]
    run.say(case.id, "started", "accent")


def _stage(run: RunFold, event: Event) -> None:
    case, stage = run.case(event["case"]), event["stage"]
    case.stage = stage
    if len(case.stages) < MAX_STAGES and (not case.stages or case.stages[-1][0] != stage):
        case.stages.append((stage, run.now_s))


def _round(run: RunFold, event: Event) -> None:
    case_id, metric, phases = event["case"], event["metric"], event["phases"]
    case = run.cases.get(case_id) or run.case(case_id)
    run.outdate(case_id, bool(phases))
    series = case.series.get(metric) or run.new_series(case, metric)
    if series is None:
        return
    if event["warmup"]:
        series.warmup += 1
        return
    if phases and (sum(phases.values()) < 0 or len(phases) > MAX_PATHS):  # a sum also finds what is no number
        raise ValueError(phases)
    series.add((run.last_ns - (run.first_ns or 0)) / 1e9, event["index"], event["value"], run.limit)
    run.raw.append(event)


def _spans(run: RunFold, event: Event) -> None:
    spans = []
    for path, lane, start_ns, end_ns in event["spans"][:MAX_SPANS]:
        spans.append(SpanView(str(path), str(lane), int(start_ns), max(int(start_ns), int(end_ns))))
    case = run.case(event["case"])
    case.spans = case.calls[event["round"]] = tuple(spans)
    while len(case.calls) > MAX_CALLS or (len(case.calls) > 1 and sum(map(len, case.calls.values())) > MAX_SPANS):
        del case.calls[next(iter(case.calls))]
    run.raw.append(event)


def _metric(run: RunFold, event: Event) -> None:
    case, metric = run.case(event["case"]), metric_from_map(event["metric"])
    if metric.name in case.metrics or len(case.metrics) < MAX_METRICS:
        keep = RECENT_SAMPLES if len(run.cases) < _MANY_CASES else RECENT_SAMPLES // 10
        case.metrics[metric.name] = replace(metric, samples=metric.samples[-keep:])


def _account(run: RunFold, event: Event) -> None:
    run.case(event["case"]).account = account_from_map(event["account"])


def _note(run: RunFold, event: Event) -> None:
    run.case(event["case"]).notes.append(event["text"])
    run.say(event["case"], event["text"])


def _extra(run: RunFold, event: Event) -> None:
    run.case(event["case"]).extra = event["extra"]


def _verdict(run: RunFold, event: Event) -> None:
    case, change, baseline = run.case(event["case"]), event["change"], event["baseline"]
    metric = case.metrics[event["metric"]]
    if event["verdict"] not in VERDICTS:
        raise ValueError(event["verdict"])
    case.metrics[metric.name] = replace(
        metric,
        verdict=cast("Verdict", event["verdict"]),
        limit=float(event["limit"]),
        change=None if change is None else change_from_map(change),
        baseline=None
        if baseline is None
        else BaselineReference(float(baseline["median"]), int(baseline["process_runs"]), str(baseline["source"])),
    )
    if metric.gated and event["verdict"] != "same":
        run.say(case.id, f"{metric.name}: {event['verdict']}", event["verdict"])


def _case_finished(run: RunFold, event: Event) -> None:
    if event["status"] not in STATUSES:
        raise ValueError(event["status"])
    case = run.case(event["case"])
    if case.account is None:
        run.learn_phases((case.id,))
    case.state, case.stage = cast("CaseState", event["status"]), ""
    case.duration_s, case.ended_s = float(event["duration_s"]), run.now_s
    run.say(case.id, case.state, "dim" if case.state in ("passed", "skipped") else "broken")
    if event["message"] and event["message"] not in case.notes:
        case.notes.append(event["message"])
    if run.running == case.id:
        run.running = None


def _machine_noise(run: RunFold, event: Event) -> None:
    run.others, run.steal = float(event["others"]), float(event["steal"])
    run.noise.append((run.now_s, run.others, run.steal))


def _gate(run: RunFold, event: Event) -> None:
    slower, noisy, missing = (tuple(map(str, event[name])) for name in ("slower", "noisy", "missing"))
    run.gate = Gate(event["exit_status"], slower, noisy, missing, event["reason"])
    run.say("", f"gate: exit {event['exit_status']}. {event['reason']}", "slower" if event["exit_status"] else "new")


def _run_finished(run: RunFold, event: Event) -> None:
    run.exit_status = event["exit_status"]
    run.running = None
    run.say("", f"run finished with status {event['exit_status']}", "bold")


REDUCERS: Mapping[str, Callable[[RunFold, Event], None]] = {
    "run_started": _run_started,
    "case_started": _case_started,
    "stage": _stage,
    "round": _round,
    "spans": _spans,
    "metric": _metric,
    "account": _account,
    "note": _note,
    "extra": _extra,
    "verdict": _verdict,
    "case_finished": _case_finished,
    "machine_noise": _machine_noise,
    "gate": _gate,
    "run_finished": _run_finished,
}
