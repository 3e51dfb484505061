"""Traces as cases: each file is one process run of a case, so that its figures can be stored as baselines and gated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perfguard.document import Account, Case, Gate, Metric, Phase, Run
from perfguard.errors import OptionError
from perfguard.figures import checked_metric
from perfguard.gate.policy import DEFAULT_LIMIT
from perfguard.traces.analysis import Analysis
from perfguard.traces.lanes import COMMUNICATION_LANE, COMPUTE_LANE, COPY_LANE

SUITE = "traces"
PROFILE = "trace"
MAX_NAME = 200


def case_name(name: str) -> str:
    """`name` if a baseline can be called so. Raises `OptionError` otherwise."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise OptionError("--as-case", f"{name!r} names no case", f"1 to {MAX_NAME} printable characters")
    return name


def as_run(analysis: Analysis, path: Path, name: str, machine: dict[str, Any], *, portable_only: bool) -> Run:
    """The run document of one trace: its case, measured when the file was written, by an unknown commit.

    `time` is the span. With `portable_only` the figures that hold on one machine class only are left out.
    """
    written = datetime.fromtimestamp(path.stat().st_mtime, tz=timezone.utc).isoformat()
    metrics = [metric for metric in _metrics(analysis) if not (portable_only and metric.kind == "time")]
    case = Case(
        id=name,
        key=name,
        suite=SUITE,
        status="passed",
        params={"format": analysis.format, "device": analysis.device, "device_name": analysis.device_name},
        metrics=tuple(metrics),
        account=_account(analysis),
        notes=analysis.notes,
    )
    return Run(
        run_id=f"import-{path.name}",
        started=written,
        finished=written,
        profile=PROFILE,
        machine=machine,
        commit={"id": ""},
        cases=(case,),
    )


def _metrics(analysis: Analysis) -> list[Metric]:
    found = [_time("time", analysis.span_s, gated=True), _time("idle", analysis.idle_s, gated=False)]
    lanes = {name: analysis.lanes.get(name) for name in (COMPUTE_LANE, COPY_LANE, COMMUNICATION_LANE)}
    found += [_time(name, busy, gated=False) for name, busy in lanes.items() if busy]
    if analysis.device is not None:
        found.append(_fraction("utilisation", analysis.utilisation))
        found.append(_fraction("utilisation_with_copies", analysis.utilisation_with_copies))
        activities = sum(row.count for row in analysis.kernels)
        found.append(checked_metric("activities", activities, unit="", kind="count", gated=False, default_limit=0.0))
    if (overlap := analysis.overlap) is not None:
        figures = {"overlap_efficiency": overlap.overlap_efficiency, "copy_hidden": overlap.copy_hidden}
        found += [_fraction(name, value) for name, value in figures.items() if value is not None]
    return found


def _time(name: str, value: float, *, gated: bool) -> Metric:
    return checked_metric(name, value, unit="s", kind="time", gated=gated, default_limit=DEFAULT_LIMIT)


def _fraction(name: str, value: float) -> Metric:
    return checked_metric(name, value, unit="", kind="fraction", direction="higher", default_limit=DEFAULT_LIMIT)


def _account(analysis: Analysis) -> Account | None:
    """The span without double counting: all compute, then what stands alone; idle time is what no phase claims."""
    if analysis.device is None:
        return None
    phases = tuple(Phase(name, value, value, 1, value) for name, value in analysis.exposed.items() if value > 0)
    rest = analysis.span_s - sum(phase.self_s for phase in phases)
    return Account(analysis.span_s, rest, phases, 1, rest)


def gate(runs: Sequence[Run], folder: Path, fail_on: str) -> tuple[list[Case], Gate]:
    """`runs` judged against the baselines in `folder`: their cases with verdicts, and the gate's decision."""
    from perfguard import baselines
    from perfguard.gate import Judge, Policy, decide
    from perfguard.gate.policy import parse_fail_on

    policy = Policy(fail_on=parse_fail_on(fail_on))
    judged = []
    for run in runs:
        stored = baselines.load(folder, str(run.machine.get("class", "")))
        judge = Judge.for_run(stored, policy, [case.key for case in run.cases])
        judged += [
            replace(case, metrics=tuple(judge.judge(case, metric) for metric in case.metrics)) for case in run.cases
        ]
    return judged, decide(judged, policy)
