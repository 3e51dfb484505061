"""The terminal report: a line per case while the run goes on, then what the gate decided and why.

It writes through pytest's own terminal reporter, so colours, capture and width are pytest's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfguard.baselines.reader import class_differences
from perfguard.document import Account, Case, Gate, Metric, PhaseChange, Run
from perfguard.events.schema import Event
from perfguard.gate.judge import MAIN_METRIC
from perfguard.report.words import GLYPHS, account_line, change_line, figure, phase_change_line
from perfguard.units import format_change, format_value

if TYPE_CHECKING:
    from perfguard.history.keeping import Kept
    from perfguard.session import RunSession

_COLOURS = {
    "slower": {"red": True},
    "broken": {"red": True},
    "faster": {"green": True},
    "noisy": {"yellow": True},
    "missing": {"yellow": True},
    "new": {"cyan": True},
    "same": {},
}
_WORST_FIRST = ("broken", "slower", "missing", "noisy", "new", "faster", "same")
MOST_NOISY_SHOWN = 12
PROGRESS_EVERY_NS = 200_000_000


class TerminalReport:
    """Writes one run's progress and report.

    `find_reporter` gives pytest's terminal reporter, or None (`-p no:terminal`); it is asked late, since pytest
    registers it after the plugins of its environment.
    """

    def __init__(self, find_reporter: Callable[[], Any], session: RunSession) -> None:
        self._find_reporter = find_reporter
        self.session = session
        self.run: Run | None = None
        self.written: Sequence[Path] = ()
        self.problems: list[str] = []
        self.kept: Kept | None = None
        self._done = 0
        self._running = ""
        self._progress_due_ns = 0
        self._dirty = False
        self._suite = ""

    @property
    def reporter(self) -> Any:
        """The terminal reporter of pytest, or None."""
        return self._find_reporter()

    def begin(self) -> None:
        """The head: where this runs, what it is compared with."""
        session, machine = self.session, self.session.machine
        if self.reporter is not None:
            self.reporter.showfspath = False  # a case prints its own line with figures; pytest's would be empty
            if self.reporter.isatty:
                session.stream.subscribe(self._progress)
        cases = session.planned
        self._line(
            f"perfguard: {len(cases)} cases, profile {session.settings.profile}, machine class {machine['class']}"
        )
        self._reference()
        if session.endpoint is not None:
            self._line(f"live: perfguard dashboard --endpoint {session.endpoint}")

    def _reference(self) -> None:
        """What this run is compared with: another revision, or the stored baselines."""
        session, settings = self.session, self.session.settings
        confidence = f"all together at {1 - session.policy.alpha:.0%} confidence"
        if other := settings.against or settings.against_path:
            self._line(f"duet: against {other}, in turn over several process restarts, {confidence}")
            return
        folder = str(settings.history_baselines or _shown(settings.baselines))
        if compared := session.judge.tests:
            self._line(f"baselines: {folder}: {compared} gated metrics to compare, {confidence}")
        else:
            self._line(f"baselines: none for these cases in {folder} (--perfguard-update writes them)")
        if settings.history_baselines is not None:
            return
        if not any(metric.kind == "time" for metric in session.baselines.metrics.values()):
            for name, differing in class_differences(settings.baselines, session.machine).items():
                self._line(f"absolute times are not compared with {name}: {', '.join(differing)}", yellow=True)

    def case(self, case: Case) -> None:
        """A case is over: its figures on a line, its account on the next."""
        self._done += 1
        if self.reporter is None:
            return
        if case.suite != self._suite:
            self._suite = case.suite
            self._line("")
            self._line(case.suite, bold=True)
        verdict = worst_verdict(case)
        name = case.key.split("::", 1)[-1]
        head = f"  [{self._done:>3}/{len(self.session.planned)}] {GLYPHS[verdict]} {verdict:<7} {name}"
        self._line(head if case.metrics else f"{head}  ({case.status})", **_COLOURS[verdict])
        for metric in _worth_showing(case):
            self._line(f"{'':21}{_metric_line(metric)}")
        if case.account is not None:
            self._account(case.account)
        for note in case.notes:
            self._line(f"{'':21}note: {note.splitlines()[0][:200]}", yellow=True)

    def summary(self) -> None:
        """The end: the gate's decision, each alarm with its phases, what could not be told."""
        if self.reporter is None:
            return
        if self.run is None and not self.problems:
            return
        self.reporter.section("perfguard")
        for problem in self.problems:
            self._line(f"error: {problem}", red=True)
        if self.run is None:
            return
        for case in self.run.cases:
            for metric in case.metrics:
                if metric.gated and metric.verdict in ("slower", "faster"):
                    self._alarm(case, metric)
        self._noisy(self.run)
        for path in self.written:
            self._line(f"baseline written: {_shown(path)}")
        settings = self.session.settings
        for what, output in (("run document", settings.json), ("recording", settings.record), *settings.exports):
            if output is not None:
                self._line(f"{what}: {_shown(output)}")
        self._history()
        self._tally(self.run)
        if self.run.gate is not None:
            self._gate(self.run.gate)

    def _history(self) -> None:
        if self.kept is not None:
            self._line(f"history: {self.kept.told(Path.cwd())}", yellow=bool(self.kept.problem))

    def _progress(self, event: Event) -> None:
        """On a terminal: what the running case is doing, rewritten in place a few times a second."""
        kind = event["kind"]
        if kind == "case_started":
            self._running = event["case"].split("::", 1)[-1]
        elif kind not in ("round", "stage"):
            return
        now_ns = event["t_ns"]
        if kind != "case_started" and now_ns < self._progress_due_ns:
            return
        self._progress_due_ns = now_ns + PROGRESS_EVERY_NS
        doing = {"case_started": "setting up", "stage": event.get("stage", "")}.get(
            kind, f"{'warming up' if event.get('warmup') else 'measuring'}, round {event.get('index', 0) + 1}"
        )
        text = f"  [{self._done + 1:>3}/{len(self.session.planned)}] … {self._running}: {doing}"
        self.reporter.rewrite(text[: shutil.get_terminal_size().columns - 1], erase=True)
        self._dirty = True

    def _account(self, account: Account) -> None:
        if account.phases:
            self._line(f"{'':21}{account_line(account)}", light=True)

    def _alarm(self, case: Case, metric: Metric) -> None:
        self._line(
            f"{GLYPHS[metric.verdict or 'same']} {metric.verdict}: {case.id}",
            bold=True,
            **_COLOURS[metric.verdict or "same"],
        )
        self._line(f"    {change_line(metric)}")
        if metric.change is not None:
            for phase in _leading(metric.change.phases):
                self._line(f"    {phase_change_line(phase)}")
        self._line(f"    again: pytest --perfguard '{case.id}'", light=True)

    def _noisy(self, run: Run) -> None:
        noisy = [(c, m) for c in run.cases for m in c.metrics if m.verdict == "noisy" and m.gated]
        if not noisy:
            return
        self._line(f"? noisy: {len(noisy)} gated metrics whose interval reaches beyond the limit", yellow=True)
        for case, metric in noisy[:MOST_NOISY_SHOWN]:
            assert metric.change is not None
            self._line(
                f"    {case.key.split('::')[-1]} {metric.name}: "
                f"{format_change(metric.change.ratio)} "
                f"[{format_change(metric.change.ci[0])}, {format_change(metric.change.ci[1])}], "
                f"limit {metric.limit:.0%}, {_runs(metric)}"
            )
        if len(noisy) > MOST_NOISY_SHOWN:
            self._line(f"    and {len(noisy) - MOST_NOISY_SHOWN} more (--perfguard-json has all)")
        if any(m.baseline is not None and m.baseline.process_runs < 5 for _, m in noisy):
            self._line("    more process runs in the baseline would narrow it: run --perfguard-update a few times")

    def _tally(self, run: Run) -> None:
        counts: dict[str, int] = {}
        for case in run.cases:
            for metric in case.metrics:
                if metric.gated and metric.verdict is not None:
                    counts[metric.verdict] = counts.get(metric.verdict, 0) + 1
        parts = [f"{counts[word]} {word}" for word in _WORST_FIRST if word in counts]
        self._line(f"gated metrics: {', '.join(parts) or 'none'}")

    def _gate(self, gate: Gate) -> None:
        word, colour = ("passes", {"green": True}) if gate.exit_status == 0 else ("fails", {"red": True})
        self._line(f"gate {word} (exit {gate.exit_status}): {gate.reason}", bold=True, **colour)

    def _line(self, text: str, **markup: bool) -> None:
        if self.reporter is not None:
            if self._dirty:
                self.reporter.rewrite("", erase=True)
                self.reporter.rewrite("")
                self._dirty = False
            else:
                self.reporter.ensure_newline()
            self.reporter.write_line(text, **markup)


def worst_verdict(case: Case) -> str:
    """The verdict a case is listed under: its worst gated metric's, or what its status says."""
    if case.status in ("failed", "error"):
        return "broken"
    verdicts = {metric.verdict for metric in case.metrics if metric.gated}
    return next((word for word in _WORST_FIRST if word in verdicts), "same")


def _worth_showing(case: Case) -> list[Metric]:
    """Gated metrics, and `time`; a comparison's single times are in the document and the dashboard."""
    return [m for m in case.metrics if m.gated or m.name == MAIN_METRIC] or list(case.metrics)


def _metric_line(metric: Metric) -> str:
    line = f"{metric.name:<30} {figure(metric):<34} {metric.verdict or '':<7} "
    if metric.change is None or metric.baseline is None:
        return line
    before = format_value(metric.baseline.median, metric.unit, metric.kind)
    return f"{line}{format_change(metric.change.ratio)} against {before}"


def _leading(phases: Sequence[PhaseChange]) -> list[PhaseChange]:
    """The phases worth naming: those that carry at least 2 % of the change."""
    return [phase for phase in phases if abs(phase.share) >= 0.02]


def _runs(metric: Metric) -> str:
    runs = 0 if metric.baseline is None else metric.baseline.process_runs
    return f"{runs} process run{'s' if runs != 1 else ''} in the baseline"


def _shown(path: Path) -> str:
    """The path below the working directory if it lies there."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
