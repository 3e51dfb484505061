"""The duet itself: restarts of both sides, cases in turn, until each verdict is certain or the time is spent.

The process restart is the sampling unit: each one gives one log ratio per metric, and
`perfguard.stats.sequential` decides on those, knowing that it looks after every restart.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from perfguard.document import Case
from perfguard.duet.judging import judge_case
from perfguard.duet.outcome import CaseRecord, Judgement, account_of, metric_maps
from perfguard.duet.pairing import A, B, measure_pair
from perfguard.duet.side import Side
from perfguard.errors import DuetError
from perfguard.stats.sequential import DuetPlan

if TYPE_CHECKING:
    from perfguard.session import PlannedCase, RunSession

MOST_RESTARTS = 80
FEWEST_RESTARTS = 5
# Blocks of one case in one restart, both sides together: short, since a further restart tells more than further blocks.
BLOCKS_BUDGET_S = 0.25
DUET_LIMIT = 0.03


@dataclass
class Progress:
    """One case over the restarts so far."""

    planned: PlannedCase
    record: CaseRecord = field(default_factory=CaseRecord)
    judgement: Judgement | None = None
    started_s: float = 0.0

    @property
    def done(self) -> bool:
        """Whether its verdict is certain, or it broke."""
        return self.judgement is not None and self.judgement.certain


class Duet:
    """Runs one duet. `report(case)` is called as soon as a case is over."""

    def __init__(
        self,
        session: RunSession,
        sides: Mapping[str, Side],
        budget_s: float,
        report: Callable[[Case], None],
        *,
        parallel: bool = False,
    ) -> None:
        self.session = session
        self.sides = sides
        self.budget_s = budget_s
        self.report = report
        self.parallel = parallel
        self.rng = random.Random(secrets.randbits(64))
        self.cases: dict[str, Progress] = {}
        self.finished: set[str] = set()
        self.tests = 0
        self.affordable = MOST_RESTARTS

    def run(self, planned: Sequence[PlannedCase]) -> None:
        """Measure the planned cases (those of the working tree) and tell what only one side has.

        Raises `DuetError` if a side cannot be imported or a worker fails.
        """
        self.cases = {case.key: Progress(case) for case in planned}
        began_s = time.monotonic()
        for restart in range(MOST_RESTARTS):
            self._restart(restart)
            if restart == 0:  # fixed now: what is decided by may not depend on what will be seen
                first_s = time.monotonic() - began_s
                self.affordable = min(MOST_RESTARTS, max(FEWEST_RESTARTS, int(self.budget_s / first_s)))
            self._judge()
            spent_s = time.monotonic() - began_s
            if all(progress.done for progress in self.cases.values()):
                break
            if spent_s + spent_s / (restart + 1) > self.budget_s:  # the next one would not fit any more
                break
        for progress in self.cases.values():
            self._finish(progress)

    def _restart(self, restart: int) -> None:
        """Fresh processes on both sides, and every undecided case once."""
        # With no change, a fair coin must be all that tells the sides apart: so says what decides (stats.betting).
        seed, size = self.rng.getrandbits(32), max(side.environment_bytes() for side in self.sides.values())
        order = self.rng.sample(sorted(self.sides), len(self.sides))
        try:
            for name in order:
                self.sides[name].start(seed, size)
            found = {name: side.collected() for name, side in self.sides.items()}
            if restart == 0:
                self._only_on_one_side(found)
            undecided = [p for p in self.cases.values() if not p.done and p.planned.key in found[A]]
            for position, progress in enumerate(undecided):
                following = undecided[position + 1].planned.key if position + 1 < len(undecided) else ""
                self._measure(progress, following, restart, found)
        finally:
            for name in order:
                self.sides[name].stop()

    def _measure(
        self, progress: Progress, following: str, restart: int, found: Mapping[str, Mapping[str, Mapping[str, str]]]
    ) -> None:
        case_id, key = progress.planned.id, progress.planned.key
        if not progress.started_s:
            progress.started_s = time.monotonic()
            self.session.start_case(case_id)
        self.session.stream.emit("stage", case=case_id, stage="duet", detail={"restart": restart + 1})
        ids = {
            name: (side, found[name][key]["id"], found[name].get(following, {}).get("id", ""))
            for name, side in self.sides.items()
        }

        def on_block(side: str, index: int, value_s: float) -> None:
            metric = "time" if side == B else "time before"
            self.session.stream.emit(
                "round",
                case=case_id,
                metric=metric,
                index=restart * 1000 + index,
                iterations=1,
                value=value_s,
                warmup=False,
                phases=None,
            )

        progress.record.add(measure_pair(ids, self.rng, BLOCKS_BUDGET_S, on_block, parallel=self.parallel))

    def _only_on_one_side(self, found: Mapping[str, Mapping[str, object]]) -> None:
        for key in found[A].keys() - found[B].keys():
            self.session.gone.append(key)
        for key, progress in self.cases.items():
            if key not in found[B]:
                raise DuetError(
                    progress.planned.id,
                    f"is collected here, but not by the worker of {self.sides[B].checkout.name}",
                    "does its parametrisation depend on the process?",
                )
            if key not in found[A]:
                note = f"new: {self.sides[A].checkout.name} has no such case"
                progress.judgement = Judgement({}, certain=True, notes=(note,))

    def _judge(self) -> None:
        """Judge what has been measured; what is certain is reported at once."""
        if self.tests == 0:  # fixed by the first restart: what is decided on may not depend on what was seen
            self.tests = max(1, sum(p.record.gated_metrics() for p in self.cases.values()))
        plan = DuetPlan(alpha=self.session.policy.alpha, tests=self.tests, max_restarts=self.affordable)
        measured = [p.record for p in self.cases.values() if p.record.restarts]
        for progress in self.cases.values():
            if progress.record.restarts and not progress.done:
                limit = self.session.limit_of(progress.planned, DUET_LIMIT)
                judgement = progress.judgement = judge_case(progress.record, measured, plan, limit)
                if judgement.certain:
                    self._finish(progress)

    def _finish(self, progress: Progress) -> None:
        """Emit a case's figures and verdicts, once."""
        case_id = progress.planned.id
        if case_id in self.finished:
            return
        self.finished.add(case_id)
        stream, judgement, record = self.session.stream, progress.judgement, progress.record
        if not progress.started_s:
            progress.started_s = time.monotonic()
            self.session.start_case(case_id)
        source = self.sides[A].checkout.name
        for metric in metric_maps(record, self.session.limit_of(progress.planned, DUET_LIMIT)):
            stream.emit("metric", case=case_id, metric=metric)
        account = account_of(record)
        if account is not None:
            stream.emit("account", case=case_id, account=asdict(account))
        for note in [*record.notes(), *(judgement.notes if judgement else ())]:
            stream.emit("note", case=case_id, text=note)
        for name, verdict in (judgement.verdicts if judgement else {}).items():
            stream.emit(
                "verdict",
                case=case_id,
                metric=name,
                verdict=verdict.verdict,
                limit=verdict.limit,
                change=None if verdict.change is None else asdict(verdict.change),
                baseline=None
                if verdict.before is None
                else {"median": verdict.before, "process_runs": len(record.restarts), "source": source},
            )
        half = record.last(B)
        status, message = ("passed", "") if half is None else (half.status, half.message)
        stream.emit(
            "case_finished",
            case=case_id,
            status=status,
            duration_s=time.monotonic() - progress.started_s,
            message=message[:2000],
        )
        self.report(self.session.builder.case(case_id))
