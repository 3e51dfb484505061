"""What a history tells, as frozen values that know nothing of databases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from perfguard.document import Direction, Kind, Verdict

Mode = Literal["plain", "duet"]


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run as stored. `id` is the document's `run_id`, `started` ISO 8601 in UTC, `commit` a full id ("": no git).

    `position` is how many commits the first-parent line below `commit` has, None where the checkout could not tell.
    `verdicts` counts metrics by verdict; `exit_status` is the gate's, None if the run was never decided. A run whose
    `mode` is "duet" compared two revisions in turn: its figures are no plain process runs.
    """

    id: str
    started: str
    commit: str
    branch: str
    position: int | None
    machine_class: str
    profile: str
    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    cases: int = 0
    dirty: bool = False
    mode: Mode = "plain"
    exit_status: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A metric of a case on one machine class, as the newest run described it; `case_id` is pytest's node id."""

    suite: str
    case: str
    case_id: str
    metric: str
    machine_class: str
    unit: str
    kind: Kind
    gated: bool


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One process run of a metric: `value` is its median, [`low`, `high`] the median's interval, from `n` samples.

    `run` is the run's id. `fastest` and `reference_s` are those of `perfguard.document.Metric`; `verdict` is what the
    gate said then, None if nothing was.
    """

    run: str
    commit: str
    started: str
    value: float
    low: float
    high: float
    n: int
    fastest: float | None = None
    reference_s: float | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Trend:
    """A metric of a case on one machine class, in commit order, oldest first."""

    case: str
    metric: str
    unit: str
    better: Direction
    machine_class: str
    points: tuple[TrendPoint, ...]
    kind: Kind = "time"
    suite: str = ""
    case_id: str = ""

    @property
    def name(self) -> str:
        """How a reader calls it."""
        return f"{self.case} {self.metric}"


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A metric's level changed between the commits `before` and `after`, on one machine class.

    `magnitude` is the new level over the old one (1.05: 5 % more), [`low`, `high`] its 95 % interval. The change lies
    in the commits after `before` up to and including `after`, at 99 %; `at_run` is the first run most likely at the new
    level. `confidence` is one minus the chance of such a change in a series of that length that has none. A fraction's
    magnitude is 1 + the difference, as in run documents. `better` says which direction is; `case_id` is pytest's node
    id of the case, for a bisect. Levels are medians of the metric itself, in `unit`.
    """

    case: str
    metric: str
    machine_class: str
    before: str
    after: str
    at_run: str
    magnitude: float
    low: float
    high: float
    confidence: float
    unit: str = ""
    kind: Kind = "time"
    better: Direction = "lower"
    suite: str = ""
    case_id: str = ""
    branch: str = ""
    at_started: str = ""
    level_before: float = 0.0
    level_after: float = 0.0
    runs_after: int = 0

    @property
    def is_worse(self) -> bool:
        """Whether it changed for the worse."""
        return (self.magnitude > 1) == (self.better == "lower")
