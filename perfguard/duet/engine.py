"""The duet itself: restarts of both sides, cases in turn, until each verdict is certain or the time is spent.

The process restart is the sampling unit: each one gives one log ratio per metric, and
`perfguard.stats.sequential` decides on those, knowing that it looks after every restart.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from perfguard.document import Case
from perfguard.duet.judging import judge_case, usual_noise
from perfguard.duet.outcome import (
    TIME,
    CaseRecord,
    Judgement,
    account_of,
    metric_maps,
    new_metric_maps,
    phase_changes,
)
from perfguard.duet.pace import FIRST_S, Pace, budgets, wanted_restarts
from perfguard.duet.pairing import A, B, Half, measure_pair
from perfguard.duet.restart import fresh_workers
from perfguard.duet.side import Side
from perfguard.errors import DuetError
from perfguard.stats.change import Prior
from perfguard.stats.sequential import DuetPlan

if TYPE_CHECKING:
    from perfguard.session import PlannedCase, RunSession

MOST_RESTARTS = 80
FEWEST_RESTARTS = 5
# Time is never kept for fewer restarts than this, so that the last one does not take all that is left.
FEWEST_LEFT = 3
DUET_LIMIT = 0.03


@dataclass
class Progress:
    """One case over the restarts so far."""

    planned: PlannedCase
    record: CaseRecord = field(default_factory=CaseRecord)
    judgement: Judgement | None = None
    alone: Half | None = None  # how it ran where the other side has no such case
    started_s: float = 0.0

    @property
    def done(self) -> bool:
        """Whether its verdict is certain, or it broke."""
        return self.judgement is not None and self.judgement.certain


@dataclass
class Cost:
    """What the last restart cost besides its blocks: for both workers, and for each case."""

    fixed_s: float = 0.0
    case_s: float = 0.0


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
        self.cost = Cost()

    def run(self, planned: Sequence[PlannedCase]) -> None:
        """Measure the planned cases (those of the working tree) and tell what only one side has.

        Raises `DuetError` if a side cannot be imported or a worker fails.
        """
        self.cases = {case.key: Progress(case) for case in planned}
        began_s = time.monotonic()
        self._rehearse()
        for restart in range(MOST_RESTARTS):
            restart_began_s = time.monotonic()
            self._restart(restart, self.budget_s - (restart_began_s - began_s))
            last_s = time.monotonic() - restart_began_s
            if restart == 0:  # fixed now: what is decided by may not depend on what will be seen
                self._fix_plan(last_s)
            self._judge()
            spent_s = time.monotonic() - began_s
            if all(progress.done for progress in self.cases.values()):
                break
            if spent_s + last_s > self.budget_s:  # the next one would not fit any more
                break
        for progress in self.cases.values():
            self._finish(progress)

    def _fix_plan(self, first_s: float) -> None:
        """How many tests share the error rate, and how many restarts are to be expected, from the first restart."""
        self.tests = max(1, sum(p.record.gated_metrics() for p in self.cases.values()))
        fewest = DuetPlan(alpha=self.session.policy.alpha, tests=self.tests).fewest_restarts
        wanted = max(FEWEST_RESTARTS, wanted_restarts(fewest, MOST_RESTARTS))
        self.affordable = min(wanted, max(FEWEST_RESTARTS, int(self.budget_s / first_s)))

    def _budgets(self, undecided: Sequence[Progress], restart: int, left_s: float) -> Mapping[str, float]:
        wanted = {p.planned.key: p.record.wanted_s(self._limit(p)) for p in undecided}
        if restart == 0:
            return wanted
        pace = Pace(self.cost.fixed_s, self.cost.case_s, left_s, max(FEWEST_LEFT, self.affordable - restart))
        return budgets(wanted, pace)

    def _limit(self, progress: Progress) -> float:
        return self.session.limit_of(progress.planned, DUET_LIMIT)

    def _rehearse(self) -> None:
        """Start both sides once without measuring: a fresh worktree is compiled, which would tell it from the other."""
        with fresh_workers(self.sides, self.rng) as found:
            self._only_on_one_side(found)

    def _restart(self, restart: int, left_s: float) -> None:
        """Fresh processes on both sides, and every undecided case once; `left_s` seconds of the budget are left."""
        began_s = time.monotonic()
        with fresh_workers(self.sides, self.rng) as found:
            for progress in self.cases.values() if restart == 0 else ():
                if progress.done:
                    self._measure_alone(progress, found[B][progress.planned.key]["id"])
            undecided = [p for p in self.cases.values() if not p.done and p.planned.key in found[A]]
            seconds = self._budgets(undecided, restart, left_s)
            cases_began_s = time.monotonic()
            for position, progress in enumerate(undecided):
                following = undecided[position + 1].planned.key if position + 1 < len(undecided) else ""
                self._measure(progress, following, restart, found, seconds[progress.planned.key])
            cases_s = time.monotonic() - cases_began_s
            self.cost.case_s = max(0.0, cases_s - self._timed_s(undecided)) / max(1, len(undecided))
        self.cost.fixed_s = time.monotonic() - began_s - cases_s

    def _timed_s(self, progresses: Sequence[Progress]) -> float:
        """Seconds of blocks in the last restart."""
        return sum(half.wall_ns for p in progresses for half in p.record.restarts[-1].values()) / 1e9

    def _measure(
        self,
        progress: Progress,
        following: str,
        restart: int,
        found: Mapping[str, Mapping[str, Mapping[str, str]]],
        seconds: float,
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

        progress.record.add(measure_pair(ids, self.rng, seconds, on_block, parallel=self.parallel))

    def _measure_alone(self, progress: Progress, own_id: str) -> None:
        """A case that only the working tree has: once, so that its figures are there."""
        progress.started_s = time.monotonic()
        self.session.start_case(progress.planned.id)
        progress.alone = measure_pair({B: (self.sides[B], own_id, "")}, self.rng, FIRST_S)[B]

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
        # Each alarm that stands takes its test out of the count (Holm 1979, A simple sequentially rejective multiple
        # test procedure, Scandinavian Journal of Statistics 6); evidence holds at any time, so at this time too.
        alarms = sum(p.judgement.alarms for p in self.cases.values() if p.judgement is not None)
        plan = DuetPlan(
            alpha=self.session.policy.alpha, tests=max(1, self.tests - alarms), max_restarts=self.affordable
        )
        prior = self._usual_noise()
        for progress in self.cases.values():
            if progress.record.restarts and not progress.done:
                judgement = progress.judgement = judge_case(progress.record, prior, plan, self._limit(progress))
                if judgement.certain:
                    self._finish(progress)

    def _usual_noise(self) -> Prior:
        return usual_noise(p.record for p in self.cases.values())

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
        source, half = self.sides[A].checkout.name, progress.alone or record.last(B)
        compared = metric_maps(record, self._limit(progress))
        new = new_metric_maps(half, self._limit(progress), {metric["name"] for metric in compared})
        for metric in [*compared, *new]:
            stream.emit("metric", case=case_id, metric=metric)
        account = account_of(record)
        if account is not None:
            stream.emit("account", case=case_id, account=asdict(account))
        for note in [*(half.notes if half else ()), *(judgement.notes if judgement else ())]:
            stream.emit("note", case=case_id, text=note)
        if lost := record.lost():
            self.session.gone.append(case_id)
            stream.emit("note", case=case_id, text=f"no longer measured: {', '.join(lost)}")
        for metric in new:
            verdict_of = {"metric": metric["name"], "verdict": "new", "limit": metric["limit"]}
            stream.emit("verdict", case=case_id, **verdict_of, change=None, baseline=None)
        before = {metric.name: list(metric.before) for metric in record.compared()}
        for name, verdict in (judgement.verdicts if judgement else {}).items():
            change = verdict.change
            if change is not None and name == TIME:
                phases = phase_changes(record, self._usual_noise(), self._limit(progress))
                change = replace(change, phases=phases)
            stream.emit(
                "verdict",
                case=case_id,
                metric=name,
                verdict=verdict.verdict,
                limit=verdict.limit,
                change=None if change is None else asdict(change),
                baseline=None
                if verdict.before is None
                else {
                    "median": verdict.before,
                    "process_runs": len(record.restarts),
                    "source": source,
                    "medians": before.get(name, []),
                },
            )
        status, message = ("passed", "") if half is None else (half.status, half.message)
        stream.emit(
            "case_finished",
            case=case_id,
            status=status,
            duration_s=time.monotonic() - progress.started_s,
            message=message[:2000],
        )
        self.report(self.session.builder.case(case_id))
