"""The terminal report: a line per case while the run goes on, then what the gate decided and why.

It writes through pytest's own terminal reporter, so colours, capture and width are pytest's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfguard.baselines.reader import class_differences
from perfguard.document import Case, Run
from perfguard.events.schema import Event
from perfguard.report.exports import Output
from perfguard.report.lines import alarm_lines, case_lines, end_lines

if TYPE_CHECKING:
    from perfguard.history.keeping import Kept
    from perfguard.session import RunSession

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
        self.made: Sequence[Output] = ()
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
        for line in case_lines(case, f"{self._done:>3}/{len(self.session.planned)}"):
            self._line(line.text, **line.markup)

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
        for line in alarm_lines(self.run):
            self._line(line.text, **line.markup)
        for path in self.written:
            self._line(f"baseline written: {_shown(path)}")
        settings = self.session.settings
        for what, file in (("run document", settings.json), ("recording", settings.record)):
            if file is not None:
                self._line(f"{what}: {_shown(file)}")
        for output in self.made:
            self._line(f"{output.kind}: {_shown(output.target)}")
        self._history()
        for line in end_lines(self.run):
            self._line(line.text, **line.markup)

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

    def _line(self, text: str, **markup: bool) -> None:
        if self.reporter is not None:
            if self._dirty:
                self.reporter.rewrite("", erase=True)
                self.reporter.rewrite("")
                self._dirty = False
            else:
                self.reporter.ensure_newline()
            self.reporter.write_line(text, **markup)


def _shown(place: Path | str) -> str:
    """A path below the working directory as such; an address as it is."""
    if isinstance(place, str):
        return place
    try:
        return str(place.relative_to(Path.cwd()))
    except ValueError:
        return str(place)
