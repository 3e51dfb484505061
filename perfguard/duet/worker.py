"""Inside a worker: pytest collects the cases of one revision and runs them when, and as far as, it is told.

A worker only ever moves on its turn. It runs a test until the test either ends or reaches `perfguard(fn)`; there
it waits for blocks to time, so that set-up, assertions and tear-down stay outside the timing, and the other
revision is at rest meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import pytest

from perfguard.cases import keep_cases, outcome, planned
from perfguard.document import Metric
from perfguard.duet.baton import Baton, Turn
from perfguard.duet.line import Line
from perfguard.errors import DuetError
from perfguard.figures import FigureBook
from perfguard.measure.blocks import Target, collector_off, prepared, tidy_between_rounds
from perfguard.measure.clock import system_clock
from perfguard.measure.plan import Plan
from perfguard.spans.recorder import Recorder, recording

if TYPE_CHECKING:
    from perfguard.measure import Comparison

DESCRIPTOR = "PERFGUARD_DUET_DESCRIPTOR"
BATON = "PERFGUARD_DUET_BATON"
OTHER_ROOT = "PERFGUARD_DUET_OTHER_ROOT"
TOOL = "PERFGUARD_DUET_TOOL"
COMPARE_PLAN = Plan(budget_s=0.5, min_rounds=8)
SHORTEST_BLOCK_NS = 1_000_000
NO_LIMIT = -1.0
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run pytest as a worker on the socket whose descriptor the environment names."""
    die_with_parent()
    line = Line(socket.socket(fileno=int(os.environ.pop(DESCRIPTOR))), "the run")
    baton = Baton(socket.socket(fileno=int(os.environ.pop(BATON))))
    others = [Path(root) for root in os.environ.pop(OTHER_ROOT).split(os.pathsep)]
    return int(pytest.main(arguments, plugins=[Entry(Worker(line, baton, others))]))


def die_with_parent() -> None:
    """Ask the kernel to end this process with its parent, also in the middle of a test (Linux).

    Elsewhere, and if the parent has gone already, the closed wire ends it at the next turn.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Entry:
    """Registers the worker under the name by which the `perfguard` fixture finds its runner."""

    perfguard_measures = True  # so the drop-in `benchmark` fixture stands in before anything is configured

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def pytest_configure(self, config: pytest.Config) -> None:
        """As `pytest --perfguard` registers its own runner."""
        config.pluginmanager.register(self.worker, "perfguard-runner")


class Worker:
    """The hooks of a worker, and the runner that the `perfguard` fixture finds."""

    def __init__(self, line: Line, baton: Baton, other_roots: Sequence[Path]) -> None:
        self.line = line
        self.baton = baton
        self.other_roots = other_roots
        self.profile = "quick"
        self.problems: list[str] = []
        self.reports: list[pytest.TestReport] = []
        self.case: WorkerCase | None = None

    def pytest_configure(self, config: pytest.Config) -> None:
        """Learn the profile."""
        self.profile = config.getoption("perfguard_profile", None) or config.getini("perfguard_profile") or "quick"

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Only performance cases."""
        keep_cases(config, items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be imported."""
        if report.failed:
            self.problems.append(f"{report.nodeid}\n{report.longreprtext}")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Tell what there is, then run what is asked for, in the order asked for."""
        self.line.send(
            "collected",
            cases=[_as_map(item) for item in session.items],
            problems=self.problems,
            foreign=self._foreign(),
        )
        items = {item.nodeid: item for item in session.items}
        gc.collect()
        gc.freeze()  # what pytest and the imports made stays: without it each case pays for looking through it all
        while True:
            try:
                message = self.line.recv(None)
            except DuetError:
                return True  # the run is gone
            if message["kind"] != "run":
                return True
            item, following = items[message["case"]], items.get(message["next"])
            self.reports = []
            self.case = WorkerCase(item.nodeid, str(planned(item).marker.get("device", "cpu")), self.line, self.baton)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            status, text = outcome(self.reports)
            self.line.send(
                "finished", status=status, message=text[:4000], records=self.case.records, notes=self.case.notes
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember how set-up, call and tear-down went."""
        self.reports.append(report)

    def case_run(self, node: pytest.Item) -> WorkerCase:  # noqa: ARG002 - as the run's own runner has it
        """What the fixture records into."""
        assert self.case is not None
        return self.case

    def _foreign(self) -> list[str]:
        """Modules that were imported from the other revision's tree: then the comparison means nothing."""
        found = []
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if not file or name.partition(".")[0] == "perfguard" or "site-packages" in file:
                continue
            path = Path(file).resolve()
            if any(path.is_relative_to(root) for root in self.other_roots):
                found.append(f"{name} ({file})")
        return found[:20]


class WorkerCase:
    """One case in a worker: what the fixture calls, served block by block."""

    def __init__(self, case_id: str, device: str, line: Line, baton: Baton) -> None:
        self.case_id = case_id
        self.device = device
        self.line = line
        self.baton = baton
        self.records: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.figures = FigureBook(NO_LIMIT, self._keep)

    def measure(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wait at the measuring point and time blocks as told, until told to go on."""
        self.figures.claim("time")
        self.figures.claim("account")
        recorder = Recorder()
        with prepared(fn, args, kwargs, self.device) as target, collector_off(), recording(recorder):
            self.line.send("ready")
            while True:
                message = self.line.recv(None)
                if message["kind"] == "calibrate":
                    calls, block_ns = calibrate(target)
                    recorder.take_round()
                    self.line.send("calibrated", calls=calls, block_ns=block_ns)
                elif message["kind"] == "turns":
                    self.line.send("timed", blocks=self._turns(target, recorder, message))
                else:
                    return target.result

    def _turns(self, target: Target, recorder: Recorder, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Time a block at each turn that is this worker's; one map for each."""
        calls, batch = int(message["calls"]), int(message["batch"])
        order = [Turn(bool(mine), int(cpu)) for mine, cpu in message["order"]]
        blocks = []
        try:
            for turn in self.baton.turns(batch, order):
                begin_on(turn.cpu)
                block_ns = target.block_ns(calls, perf_counter_ns)
                totals = recorder.take_round().totals
                blocks.append({"ns": block_ns, "phases": {path: (own, n) for path, (_, own, n) in totals.items()}})
                tidy_between_rounds()
        except BaseException:
            self.baton.give_up(batch)
            raise
        return blocks

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
        """Alternatives are timed here, on this side's turn: their ratio needs no other revision to be fair."""
        from perfguard.measure import compare_in_turn  # with numpy and scipy: only for cases that compare

        comparison, first = compare_in_turn(
            alternatives,
            reference,
            COMPARE_PLAN,
            lambda *_: None,
            seed=self.case_id,
            device=self.device,
            block_s=block_s,
            settle=settle,
        )
        if record:
            self.figures.record_ratios(comparison, first, gated=gated)
        return comparison

    def account(self, calls: Iterable[tuple[float, Mapping[str, float]]]) -> None:
        """Taken, and left: a duet's account is that of the blocks it timed."""
        self.figures.claim("account")
        list(calls)

    def note(self, text: str) -> None:
        """A sentence for the report."""
        self.notes.append(str(text)[:4000])

    def _keep(self, metric: Metric) -> None:
        """A figure travels with the end of the case; without a limit of its own it gets the case's, over there."""
        kept = ("name", "unit", "kind", "direction", "gated", "median")
        own_limit = None if metric.limit == NO_LIMIT else metric.limit
        self.records.append({name: getattr(metric, name) for name in kept} | {"limit": own_limit})


def begin_on(cpu: int) -> None:
    """Move this thread to processor `cpu`, then let it go where it likes again; does nothing where that can't be done.

    A process stays where it last ran. Beside a busy neighbour the two sides would else keep processors of different
    speed for a whole restart, and the code that runs on the slower one would look slower.
    """
    if cpu < 0 or not hasattr(os, "sched_setaffinity"):
        return
    allowed = os.sched_getaffinity(0)
    if cpu in allowed and len(allowed) > 1:
        with contextlib.suppress(OSError):  # a container may forbid it, or have changed its processors meanwhile
            os.sched_setaffinity(0, {cpu})
            os.sched_setaffinity(0, allowed)


def calibrate(target: Target) -> tuple[int, int]:
    """Calls per block so that a block lasts a millisecond, found by running: these calls warm the function up."""
    shortest_ns = max(SHORTEST_BLOCK_NS, system_clock().shortest_round_ns)
    calls = 1
    target.block_ns(1, perf_counter_ns)
    while True:
        block_ns = target.block_ns(calls, perf_counter_ns)
        if block_ns >= shortest_ns or calls >= 10_000_000:
            return calls, block_ns
        calls = max(calls + 1, int(calls * min(100.0, 1.2 * shortest_ns / max(block_ns, 1))))


def _as_map(item: pytest.Item) -> dict[str, Any]:
    case = planned(item)
    return {
        "id": case.id,
        "key": case.key,
        "suite": case.suite,
        "params": dict(case.params),
        "marker": {name: value for name, value in case.marker.items() if isinstance(value, int | float | str)},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
