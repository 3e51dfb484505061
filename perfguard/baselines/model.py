"""What a baseline is, in memory: frozen, validated already, knowing nothing of files or TOML."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from perfguard.document import PORTABLE_KINDS, Direction, Kind, Metric
from perfguard.errors import BaselineError

SCHEMA = "perfguard.baseline/1"
PORTABLE = "portable"
UNACCOUNTED = "unaccounted"
# How many process runs of a metric are kept: enough to know its noise, few enough to follow the code.
KEEP = 10
REBASELINE = "if the change is meant, start the metric afresh: perfguard baseline accept --replace RUN.json"

MetricKey = tuple[str, str, str]  # suite, case key, metric name


@dataclass(frozen=True, slots=True)
class ProcessRun:
    """What one fresh interpreter measured of one metric.

    `date` is RFC 3339 in UTC; `commit` a short id, with `+dirty` if the tree had changes, "" outside git.
    `median` and `ci` are in the metric's unit, from `n` samples. `phases` are median self seconds per
    call by phase path, `unaccounted` among them; empty if the metric is not the time of an account.
    `fastest` is the fastest round, in the metric's unit, and `reference_s` the reference kernel's fastest time between
    the rounds, in seconds; None for figures that perfguard did not sample itself.
    """

    date: str
    commit: str
    n: int
    median: float
    ci: tuple[float, float]
    phases: Mapping[str, float] = field(default_factory=dict)
    fastest: float | None = None
    reference_s: float | None = None


@dataclass(frozen=True, slots=True)
class BaselineMetric:
    """One metric of one case as stored: its process runs, oldest first, never empty.

    `source` is `file:line` of its table. `limit` is a person's override of the practical limit, a
    fraction, or None.
    """

    name: str
    unit: str
    direction: Direction
    kind: Kind
    gated: bool
    process_runs: tuple[ProcessRun, ...]
    source: str
    limit: float | None = None

    @property
    def medians(self) -> tuple[float, ...]:
        """The median of each process run, oldest first."""
        return tuple(run.median for run in self.process_runs)

    def mismatch(self, metric: Metric | BaselineMetric) -> str:
        """Why `metric` cannot be compared with this baseline, or "" if it can.

        A change of unit, direction or kind makes old figures meaningless; it is never bridged silently.
        """
        changed = [
            f"{what} {now!r} now, {stored!r} in the baseline"
            for what, now, stored in (
                ("unit", metric.unit, self.unit),
                ("direction", metric.direction, self.direction),
                ("kind", metric.kind, self.kind),
            )
            if now != stored
        ]
        return "; ".join(changed)

    def check(self, metric: Metric | BaselineMetric, case_key: str) -> None:
        """Raise `BaselineError` with advice if `metric` cannot be compared with this baseline."""
        if problem := self.mismatch(metric):
            raise BaselineError(f"{self.source}: {case_key} {self.name}", problem, REBASELINE)


@dataclass(frozen=True, slots=True)
class Baselines:
    """All baselines that apply on one machine class: its own absolute ones and the portable ones.

    `other_classes` are the machine classes in the folder whose absolute figures do not apply here.
    """

    folder: str
    machine_class: str
    metrics: Mapping[MetricKey, BaselineMetric] = field(default_factory=dict)
    other_classes: tuple[str, ...] = ()

    def metric(self, suite: str, case_key: str, metric_name: str, kind: str) -> BaselineMetric | None:
        """The baseline of that metric, or None if it has none here.

        Raises `BaselineError` if it is stored with another kind: that is a changed test, not a new one.
        """
        found = self.metrics.get((suite, case_key, metric_name))
        if found is not None and found.kind != kind:
            problem = f"kind {kind!r} now, {found.kind!r} in the baseline"
            raise BaselineError(f"{found.source}: {case_key} {metric_name}", problem, REBASELINE)
        return found

    def case_keys(self, suite: str) -> tuple[str, ...]:
        """The keys of the cases of `suite` that have any baseline here, sorted."""
        return tuple(sorted({case for of_suite, case, _ in self.metrics if of_suite == suite}))

    def suites(self) -> tuple[str, ...]:
        """The suites that have any baseline here, sorted."""
        return tuple(sorted({suite for suite, _, _ in self.metrics}))

    def of_case(self, suite: str, case_key: str) -> tuple[BaselineMetric, ...]:
        """All baselines of one case, sorted by metric name."""
        found = (metric for key, metric in self.metrics.items() if key[:2] == (suite, case_key))
        return tuple(sorted(found, key=lambda metric: metric.name))

    def count(self, case_keys: Collection[str] | None = None) -> int:
        """How many gated metrics have a baseline here, among the cases of those keys (None: all cases)."""
        return sum(
            metric.gated and (case_keys is None or case in case_keys) for (_, case, _), metric in self.metrics.items()
        )


def home_of(kind: str, machine_class: str) -> str:
    """The folder, below the baselines folder, in which metrics of `kind` are stored."""
    return PORTABLE if kind in PORTABLE_KINDS else machine_class


def rfc3339(moment: datetime) -> str:
    """`moment` (with offset) in UTC, RFC 3339 with a Z: `2026-01-31T12:00:00Z`."""
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
