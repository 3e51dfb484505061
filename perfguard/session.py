"""One run from start to gate: the plugin tells it what pytest does, it tells the stream what was measured.

It knows cases by their node id and nothing of pytest items; the plugin knows pytest and nothing of events.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from perfguard import baselines, document
from perfguard.baselines import Baselines
from perfguard.baselines.machine import commit_info, describe, machine_class
from perfguard.case_run import CaseRun
from perfguard.document import Case, Gate, Metric, Run, Status
from perfguard.errors import BaselineError, OptionError
from perfguard.events import EventStream
from perfguard.events.fold import RunBuilder
from perfguard.gate import Judge, Policy, decide
from perfguard.gate.policy import DEFAULT_LIMIT, parse_fail_on
from perfguard.measure import PROFILES
from perfguard.noise import NoiseMeter
from perfguard.options import DEFAULT_LIVE, Settings
from perfguard.report.files import write_whole
from perfguard.report.timeline import Timeline
from perfguard.units import parse_limit

if TYPE_CHECKING:
    from perfguard.history.keeping import Kept


@dataclass(frozen=True)
class PlannedCase:
    """A case before it runs. `marker` holds the keyword arguments of `@pytest.mark.perfguard`."""

    id: str
    key: str
    suite: str
    params: Mapping[str, Any] = field(default_factory=dict)
    marker: Mapping[str, Any] = field(default_factory=dict)


class RunSession:
    """A run. Raises `PerfguardError`s from its constructor for settings that cannot work, before anything runs."""

    def __init__(self, settings: Settings, root: Path, warn: Callable[[str], None]) -> None:
        self.settings = settings
        self.root = root
        self.warn = warn
        self.policy = Policy(settings.alpha, parse_fail_on(settings.fail_on), settings.strict)
        self.plan = PROFILES[settings.profile].with_budget(settings.case_seconds)
        self.machine = {**describe()}
        self.machine["class"] = machine_class(self.machine)
        self.commit = dict(commit_info(root, aside=settings.baselines))
        self.baselines = self._load_baselines()
        self.judge: Judge  # from `start` on: it learns from the baselines of the cases that run
        self.stream = EventStream(new_run_id(), on_problem=warn)
        self.builder = RunBuilder()
        self.stream.subscribe(self.builder.apply)
        self.timeline = Timeline()
        if settings.outputs:
            self.stream.subscribe(self.timeline.apply)
        self.planned: dict[str, PlannedCase] = {}
        self.gone: list[str] = []
        self.noise = NoiseMeter()
        self.endpoint: str | None = None
        try:
            if settings.record is not None:
                self.stream.open_recorder(settings.record)
            if settings.live is not None:
                self.endpoint = self.stream.open_bus(None if settings.live == DEFAULT_LIVE else settings.live)
        except BaseException:
            self.stream.close()
            raise

    # -- what happens, in order

    def start(self, planned: Sequence[PlannedCase]) -> None:
        """The cases are collected and about to run."""
        self.planned = {case.id: case for case in planned}
        self.judge = Judge.for_run(self.baselines, self.policy, [case.key for case in planned])
        plan = [{"id": c.id, "key": c.key, "suite": c.suite, "params": dict(c.params)} for c in planned]
        self.stream.emit(
            "run_started",
            started=now_iso(),
            profile=self.settings.profile,
            machine=self.machine,
            commit=self.commit,
            plan=plan,
        )

    def start_case(self, case_id: str) -> None:
        """A case is about to be set up."""
        self.stream.emit("case_started", case=case_id)
        self.stream.emit("stage", case=case_id, stage="setup", detail={})

    def case_run(self, case_id: str) -> CaseRun:
        """The recorder for a case's fixture. Raises `OptionError` for a marker that makes no sense."""
        marker = self.planned[case_id].marker
        limit = self.limit_of(self.planned[case_id])
        plan = self.plan
        if self.settings.case_seconds is None and marker.get("budget_s") is not None:
            plan = plan.with_budget(float(marker["budget_s"]))
        device = str(marker.get("device", "cpu"))
        return CaseRun(
            case_id,
            self.stream,
            plan,
            limit,
            device,
            perf_counter_ns,
            lambda metric: self._looks_slower(case_id, metric),
        )

    def limit_of(self, case: PlannedCase, default: float = DEFAULT_LIMIT) -> float:
        """The change a case tolerates, as a fraction. Raises `OptionError` for a marker that says none."""
        if self.settings.limit is not None:
            return self.settings.limit
        return parse_limit(case.marker.get("limit", default), f"{case.id}: limit")

    def finish_case(self, case_id: str, status: Status, duration_s: float, message: str) -> Case:
        """A case is over: judge its metrics (of a passed case only) and close it."""
        case = self.builder.case(case_id)
        if status == "passed":
            self._judge(case)
        elif status in ("failed", "error"):
            self._mark_broken(case)
        self.stream.emit("case_finished", case=case_id, status=status, duration_s=duration_s, message=message[:2000])
        others, steal = self.noise.read()
        self.stream.emit("machine_noise", others=others, steal=steal)
        return self.builder.case(case_id)

    def finish(self, exit_status: int, interrupted: bool = False) -> Run:
        """The run is over: decide, close the stream; returns the document."""
        try:
            gate = self._decide(exit_status, interrupted)
            self.stream.emit("gate", **asdict(gate))
            self.stream.emit("run_finished", finished=now_iso(), exit_status=gate.exit_status)
        finally:
            self.stream.close()
        return self.builder.run()

    def write_document(self, run: Run) -> None:
        """Write the run document where `--perfguard-json` says. Raises `DocumentError` if it cannot be written."""
        if self.settings.json is not None:
            write_json(self.settings.json, run)

    def keep(self, run: Run) -> Kept | None:
        """Store the run in the history, if there is one; what became of it. Never raises: the run is decided."""
        if self.settings.history is None:
            return None
        from perfguard.history.keeping import keep

        samples = self.settings.history_samples
        return keep(run, self.settings.history, self.root, self.settings.json, samples=samples)

    def update_baselines(self) -> list[Path]:
        """Add this run's figures to the baselines; the files written."""
        return baselines.update(self.settings.baselines, self.builder.run())

    # -- inner

    def _load_baselines(self) -> Baselines:
        wanted = self.settings.history_baselines
        if wanted is None:
            return baselines.load(self.settings.baselines, self.machine["class"])
        here = self.machine["class"]
        if self.settings.against is not None or self.settings.against_path is not None:
            return Baselines(str(wanted), here)  # a duet measures what it compares with
        if self.settings.history is None:
            raise OptionError("--perfguard-baselines", f"{wanted} needs a history", "--perfguard-history names one")
        if "://" not in self.settings.history and not Path(self.settings.history).exists():
            return Baselines(str(wanted), here)  # this run is the first that is stored there
        from perfguard.history import open_history

        with open_history(self.settings.history, create=False) as history:
            return history.baselines(wanted, here)

    def _looks_slower(self, case_id: str, metric: Metric) -> bool:
        if self.settings.update:
            return False
        try:
            return self.judge.judge(self.builder.case(case_id), metric).verdict == "slower"
        except BaselineError:
            return False  # said at the end of the case

    def _judge(self, case: Case) -> None:
        for metric in case.metrics:
            try:
                judged = self.judge.judge(case, metric)
            except BaselineError as error:
                if not self.settings.update:
                    raise
                self.stream.emit("note", case=case.id, text=f"not compared: {error}")
                continue
            self.stream.emit(
                "verdict",
                case=case.id,
                metric=metric.name,
                verdict=judged.verdict,
                limit=judged.limit,
                change=None if judged.change is None else asdict(judged.change),
                baseline=None if judged.baseline is None else asdict(judged.baseline),
            )
        gone = self.judge.missing(self.builder.case(case.id))
        if gone:
            self.gone.append(case.id)
            self.stream.emit("note", case=case.id, text=f"no longer measured, but in the baseline: {', '.join(gone)}")

    def _mark_broken(self, case: Case) -> None:
        for metric in case.metrics:
            self.stream.emit(
                "verdict",
                case=case.id,
                metric=metric.name,
                verdict="broken",
                limit=metric.limit,
                change=None,
                baseline=None,
            )

    def _decide(self, exit_status: int, interrupted: bool) -> Gate:
        gate = decide(self.builder.cases.values(), self.policy, self.gone)
        if interrupted:
            return Gate(
                2, gate.slower, gate.noisy, gate.missing, "interrupted: what was measured is recorded, not judged"
            )
        if exit_status != 0:
            return Gate(
                exit_status,
                gate.slower,
                gate.noisy,
                gate.missing,
                "tests failed" if exit_status == 1 else f"pytest ended with status {exit_status}",
            )
        if self.settings.update:
            return Gate(0, gate.slower, gate.noisy, gate.missing, "baselines updated: this run is the new reference")
        return gate

    def abort(self) -> None:
        """Close without a document: nothing was collected, or start-up failed."""
        self.stream.close()


def new_run_id() -> str:
    """Sortable by time, unique enough: `20261121-090215-1a2b3c`."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


def now_iso() -> str:
    """The time now as ISO 8601 in UTC, to the millisecond."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds")


def write_json(path: Path, run: Run) -> None:
    """Write the run document, atomically. Raises `DocumentError` naming the path if it cannot be written."""
    write_text(path, json.dumps(document.to_json(run), indent=1, allow_nan=False))


def write_text(path: Path, text: str) -> None:
    """Write a file, atomically. Raises `DocumentError` naming the path if it cannot be written."""
    write_whole(path, text + "\n")
