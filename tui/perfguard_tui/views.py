"""What the screen draws: frozen views of a run and its cases, built by the store, free of any user interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from perfguard.document import Account, Gate, Metric, Verdict
from perfguard_tui.points import Floats

CaseState = Literal["planned", "running", "passed", "failed", "error", "skipped"]

WORST_FIRST: tuple[Verdict, ...] = ("broken", "slower", "missing", "noisy", "new", "faster", "same")


class SpanView(NamedTuple):
    """One interval of one call, in ns on the clock of the host; `lane` is empty on the measured thread."""

    path: str
    lane: str
    start_ns: int
    end_ns: int


class LogEntry(NamedTuple):
    """One line of the log: seconds since the run began, the case or nothing, what happened, and its role."""

    t_s: float
    case: str
    text: str
    role: str


@dataclass(frozen=True, slots=True)
class SeriesView:
    """One metric's timed rounds, in its unit; `n` rounds in all, `warmup` before them; `recent`: the latest values.

    `points`: seconds since the run began, number of the round and value, all three arrays of one length; thinned over
    the whole case if there were too many, with every outlier kept. Warm-up rounds are not among them.
    """

    metric: str
    n: int
    warmup: int
    recent: tuple[float, ...]
    median: float
    points: tuple[Floats, Floats, Floats] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class CaseView:
    """One case as far as the events told.

    `live_phases`: mean self seconds per call and phase over the latest rounds, until the account is there.
    `metrics` keep their latest samples only. `calls`: the spans of the latest recorded rounds, by the round's number.
    `began_s`, `ended_s`: seconds since the run began; `stages`: each one's name and when it began, likewise.
    """

    id: str
    suite: str
    name: str
    state: CaseState = "planned"
    stage: str = ""
    metrics: tuple[Metric, ...] = ()
    series: tuple[SeriesView, ...] = ()
    account: Account | None = None
    live_phases: tuple[tuple[str, float], ...] = ()
    live_call_s: float = 0.0
    spans: tuple[SpanView, ...] = ()
    notes: tuple[str, ...] = ()
    duration_s: float = 0.0
    key: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    calls: tuple[tuple[int, tuple[SpanView, ...]], ...] = ()
    began_s: float | None = None
    ended_s: float | None = None
    stages: tuple[tuple[str, float], ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict of its gated metrics; `broken` for a case that failed; None as long as unjudged."""
        if self.state in ("failed", "error"):
            return "broken"
        verdicts = {metric.verdict for metric in self.metrics if metric.gated}
        return next((word for word in WORST_FIRST if word in verdicts), None)

    @property
    def headline(self) -> Metric | None:
        """The metric that a row shows: the one behind the verdict, else the first gated one."""
        gated = [metric for metric in self.metrics if metric.gated] or list(self.metrics)
        return next((metric for metric in gated if metric.verdict == self.verdict), gated[0] if gated else None)


@dataclass(frozen=True, slots=True)
class RunView:
    """One run as far as the events told; times in seconds of the producer's clock.

    `others` and `steal`: fractions of all CPUs that other processes and the hypervisor took, None before the
    first reading. `bad`: events whose inner shape was wrong and that were passed over. `noise`: the readings so far, as
    (seconds since the run began, others, steal). `machine`: what the run said of its machine.
    """

    run_id: str = ""
    profile: str = ""
    machine_class: str = ""
    commit: str = ""
    cases: tuple[CaseView, ...] = ()
    running: str | None = None
    done: int = 0
    events: int = 0
    events_per_s: float = 0.0
    elapsed_s: float = 0.0
    others: float | None = None
    steal: float | None = None
    gate: Gate | None = None
    exit_status: int | None = None
    bad: int = 0
    tally: tuple[tuple[Verdict, int], ...] = field(default=())
    machine: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    log: tuple[LogEntry, ...] = ()
    noise: tuple[tuple[float, float, float], ...] = ()

    def case(self, case_id: str | None) -> CaseView | None:
        """The case of that id, or None."""
        return next((case for case in self.cases if case.id == case_id), None)
