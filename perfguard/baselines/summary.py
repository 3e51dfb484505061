"""From a run to what a baseline keeps of it: one process run per metric, at the precision that is stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from perfguard.baselines.model import UNACCOUNTED, BaselineMetric, ProcessRun, rfc3339
from perfguard.baselines.schema import NON_NEGATIVE
from perfguard.document import EXACT_KINDS, Account, Case, Metric, Run, check_figure
from perfguard.errors import BaselineError
from perfguard.units import check_unit, round_measured

_SHORT_ID = 10

CaseMetric = tuple[str, str]  # case key, metric name


def summarise(run: Run, source: str) -> dict[str, dict[CaseMetric, BaselineMetric]]:
    """The metrics of the passed cases of `run`, by suite, each with this run as its one process run.

    `source` is what they call their source; `limit` is the run's. Differences that may be negative are left out, since
    a change is a ratio; a gated one is refused when it is written. Raises `MeasurementError` for a figure that
    is not finite or whose unit does not fit its kind, `BaselineError` for a document without a date.
    """
    found: dict[str, dict[CaseMetric, BaselineMetric]] = {}
    for case in run.cases:
        if case.status != "passed":
            continue
        for metric in case.metrics:
            if metric.verdict == "broken" or _is_difference(metric):
                continue
            check_unit(metric.kind, metric.unit, f"{case.key} {metric.name}")
            found.setdefault(case.suite, {})[case.key, metric.name] = BaselineMetric(
                name=metric.name,
                unit=metric.unit,
                direction=metric.direction,
                kind=metric.kind,
                gated=metric.gated,
                process_runs=(process_run_of(case, metric, run),),
                source=source,
                limit=metric.limit,
            )
    return found


def _is_difference(metric: Metric) -> bool:
    """A figure below zero of a kind that has none, not gated: a difference of two, of which no change is a ratio."""
    return not metric.gated and metric.kind in NON_NEGATIVE and metric.ci[0] < 0


def process_run_of(case: Case, metric: Metric, run: Run) -> ProcessRun:
    """What a baseline keeps of one metric of one case."""
    phases: dict[str, float] = {}
    if case.account is not None and metric.name == _timed_metric(case):
        medians = _phase_medians(case.account)
        phases = {path: stored(seconds, metric.kind) for path, seconds in medians.items()}
    name = f"{case.key} {metric.name}"
    low, high = (check_figure(name, end) for end in metric.ci)
    return ProcessRun(
        date=_date(run.started),
        commit=short_commit(run.commit),
        n=max(1, metric.n),
        median=stored(check_figure(name, metric.median), metric.kind),
        ci=(stored(low, metric.kind), stored(high, metric.kind)),
        phases=phases,
        fastest=None if metric.fastest is None else stored(check_figure(name, metric.fastest), metric.kind),
        reference_s=None if metric.reference_s is None else stored(metric.reference_s, "time"),
    )


def stored(value: float, kind: str) -> float:
    """`value` as it is stored: exact for exact kinds, to 6 significant digits for measured ones."""
    return float(value) if kind in EXACT_KINDS else round_measured(value)


def short_commit(commit: Mapping[str, object]) -> str:
    """A commit as baselines name it: 10 digits of its id, `+dirty` if files had changes; "" without git."""
    short = str(commit.get("id", ""))[:_SHORT_ID]
    return f"{short}+dirty" if short and commit.get("dirty") else short


def _timed_metric(case: Case) -> str:
    """The metric whose phases the account splits: `time`, or else the case's first time."""
    times = [metric.name for metric in case.metrics if metric.kind == "time"]
    return "time" if "time" in times else next(iter(times), "")


def _phase_medians(account: Account) -> dict[str, float]:
    medians = {phase.path: phase.median_s for phase in account.phases}
    return {**medians, UNACCOUNTED: account.unaccounted_median_s}


def _date(started: str) -> str:
    try:
        moment = datetime.fromisoformat(started.replace("Z", "+00:00"))  # Python 3.10 does not read the Z
    except ValueError as error:
        raise BaselineError("run document: started", f"{started!r} is no ISO 8601 date") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return rfc3339(moment.replace(microsecond=0))
