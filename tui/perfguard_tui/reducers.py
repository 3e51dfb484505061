"""The fold from events to what the dashboard keeps of a run: one small function per kind of event.

All state is bounded: so many cases, so many samples, notes and spans per case, whatever the stream holds.
An event whose inner shape is wrong raises KeyError, TypeError, ValueError or AttributeError; the store counts it.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

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
from perfguard_tui.views import WORST_FIRST, CaseState, CaseView, RunView, SeriesView, SpanView

MAX_CASES = 20_000
MAX_METRICS = 200
MAX_SERIES = 16
MAX_PATHS = 200
MAX_SPANS = 1000
MAX_NOTES = 50
RECENT_SAMPLES = 240
RECENT_ROUNDS = 64
RATE_WINDOW_S = 2.0


@dataclass(slots=True)
class _Series:
    n: int = 0
    warmup: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_SAMPLES))

    def view(self, metric: str) -> SeriesView:
        recent = tuple(self.recent)
        return SeriesView(metric, self.n, self.warmup, recent, statistics.median(recent) if recent else 0.0)


@dataclass(slots=True)
class CaseFold:
    """What is kept of one case; `view` is its frozen image, built when asked for after a change."""

    id: str
    suite: str
    name: str
    state: CaseState = "planned"
    stage: str = ""
    metrics: dict[str, Metric] = field(default_factory=dict)
    series: dict[str, _Series] = field(default_factory=dict)
    rounds: deque[tuple[float, Mapping[str, float]]] = field(default_factory=lambda: deque(maxlen=RECENT_ROUNDS))
    account: Account | None = None
    spans: tuple[SpanView, ...] = ()
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_NOTES))
    duration_s: float = 0.0
    image: CaseView | None = None

    def view(self) -> CaseView:
        """The frozen image."""
        if self.image is None:
            phases: dict[str, float] = {}
            for _, shares in self.rounds:
                for path, self_s in shares.items():
                    phases[path] = phases.get(path, 0.0) + self_s / len(self.rounds)
            self.image = CaseView(
                id=self.id,
                suite=self.suite,
                name=self.name,
                state=self.state,
                stage=self.stage,
                metrics=tuple(self.metrics.values()),
                series=tuple(series.view(name) for name, series in self.series.items()),
                account=self.account,
                live_phases=tuple(phases.items()),
                live_call_s=statistics.fmean(value for value, _ in self.rounds) if self.rounds else 0.0,
                spans=self.spans,
                notes=tuple(self.notes),
                duration_s=self.duration_s,
            )
        return self.image


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
    others: float | None = None
    steal: float | None = None
    gate: Gate | None = None
    exit_status: int | None = None
    bad: int = 0

    def case(self, case_id: str) -> CaseFold:
        """The case of that id, made if it is new; its image is taken to be out of date."""
        case = self.cases.get(case_id)
        if case is None:
            if len(self.cases) >= MAX_CASES:
                raise ValueError(f"more than {MAX_CASES} cases")
            suite, _, name = case_id.rpartition("::")
            case = self.cases[case_id] = CaseFold(case_id, suite.rpartition("/")[2], name)
        case.image = None
        return case

    def count(self, t_ns: int) -> None:
        """One more event, of that time."""
        self.events += 1
        if self.first_ns is None:
            self.first_ns = t_ns
        self.last_ns = max(self.last_ns, t_ns)
        if not self.rate or t_ns - self.rate[-1][0] > RATE_WINDOW_S * 1e9 / 16:
            self.rate.append((t_ns, self.events))

    def view(self) -> RunView:
        """The frozen image of the whole run."""
        cases = tuple(case.view() for case in self.cases.values())
        verdicts = [case.verdict for case in cases]
        return RunView(
            run_id=self.run_id,
            profile=self.profile,
            machine_class=self.machine_class,
            commit=self.commit,
            cases=cases,
            running=self.running,
            done=sum(case.state not in ("planned", "running") for case in cases),
            events=self.events,
            events_per_s=self._events_per_s(),
            elapsed_s=0.0 if self.first_ns is None else (self.last_ns - self.first_ns) / 1e9,
            others=self.others,
            steal=self.steal,
            gate=self.gate,
            exit_status=self.exit_status,
            bad=self.bad,
            tally=tuple((word, verdicts.count(word)) for word in WORST_FIRST if word in verdicts),
        )

    def _events_per_s(self) -> float:
        begin_ns = self.last_ns - RATE_WINDOW_S * 1e9
        since = next(((t_ns, events) for t_ns, events in self.rate if t_ns >= begin_ns), None)
        if since is None or self.last_ns <= since[0]:
            return 0.0
        return (self.events - since[1]) / ((self.last_ns - since[0]) / 1e9)


def _run_started(run: RunFold, event: Event) -> None:
    run.run_id = event["run"]
    run.profile = event["profile"]
    run.machine_class = str(event["machine"].get("class", ""))
    run.commit = str(event["commit"].get("id", ""))[:12] + ("+" if event["commit"].get("dirty") else "")
    for planned in event["plan"]:
        case = run.case(str(planned["id"]))
        case.suite = str(planned.get("suite", case.suite))


def _case_started(run: RunFold, event: Event) -> None:
    run.case(event["case"]).state = "running"
    run.running = event["case"]


def _stage(run: RunFold, event: Event) -> None:
    run.case(event["case"]).stage = event["stage"]


def _round(run: RunFold, event: Event) -> None:
    case, metric, value = run.case(event["case"]), event["metric"], float(event["value"])
    series = case.series.get(metric)
    if series is None:
        if len(case.series) >= MAX_SERIES:
            return
        series = case.series[metric] = _Series()
    if event["warmup"]:
        series.warmup += 1
        return
    series.n += 1
    series.recent.append(value)
    if event["phases"]:
        phases = {str(path): float(self_s) for path, self_s in list(event["phases"].items())[:MAX_PATHS]}
        case.rounds.append((value, phases))


def _spans(run: RunFold, event: Event) -> None:
    spans = []
    for path, lane, start_ns, end_ns in event["spans"][:MAX_SPANS]:
        spans.append(SpanView(str(path), str(lane), int(start_ns), max(int(start_ns), int(end_ns))))
    run.case(event["case"]).spans = tuple(spans)


def _metric(run: RunFold, event: Event) -> None:
    case, metric = run.case(event["case"]), metric_from_map(event["metric"])
    if metric.name in case.metrics or len(case.metrics) < MAX_METRICS:
        case.metrics[metric.name] = replace(metric, samples=metric.samples[-RECENT_SAMPLES:])


def _account(run: RunFold, event: Event) -> None:
    run.case(event["case"]).account = account_from_map(event["account"])


def _note(run: RunFold, event: Event) -> None:
    run.case(event["case"]).notes.append(event["text"])


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


def _case_finished(run: RunFold, event: Event) -> None:
    if event["status"] not in STATUSES:
        raise ValueError(event["status"])
    case = run.case(event["case"])
    case.state, case.stage = cast("CaseState", event["status"]), ""
    case.duration_s = float(event["duration_s"])
    if event["message"] and event["message"] not in case.notes:
        case.notes.append(event["message"])
    if run.running == case.id:
        run.running = None


def _machine_noise(run: RunFold, event: Event) -> None:
    run.others, run.steal = float(event["others"]), float(event["steal"])


def _gate(run: RunFold, event: Event) -> None:
    slower, noisy, missing = (tuple(map(str, event[name])) for name in ("slower", "noisy", "missing"))
    run.gate = Gate(event["exit_status"], slower, noisy, missing, event["reason"])


def _run_finished(run: RunFold, event: Event) -> None:
    run.exit_status = event["exit_status"]
    run.running = None


REDUCERS: Mapping[str, Callable[[RunFold, Event], None]] = {
    "run_started": _run_started,
    "case_started": _case_started,
    "stage": _stage,
    "round": _round,
    "spans": _spans,
    "metric": _metric,
    "account": _account,
    "note": _note,
    "verdict": _verdict,
    "case_finished": _case_finished,
    "machine_noise": _machine_noise,
    "gate": _gate,
    "run_finished": _run_finished,
}
