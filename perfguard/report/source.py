"""What reports are made of: the run document, and where known its course in time and the trends of its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from perfguard.document import Run
from perfguard.report.timeline import Timeline


class TrendPoint(Protocol):
    """One run in a trend: the figure with its interval, in the metric's unit."""

    @property
    def run(self) -> str:
        """The run's id."""

    @property
    def commit(self) -> str:
        """The commit's id, "" if unknown."""

    @property
    def started(self) -> str:
        """ISO 8601."""

    @property
    def value(self) -> float:
        """The median."""

    @property
    def low(self) -> float:
        """The interval's low end."""

    @property
    def high(self) -> float:
        """The interval's high end."""


class Trend(Protocol):
    """A metric of a case over runs, oldest first. `perfguard.history` makes them; a report only draws them."""

    @property
    def case(self) -> str:
        """The case's key."""

    @property
    def metric(self) -> str:
        """The metric's name."""

    @property
    def unit(self) -> str:
        """The metric's unit."""

    @property
    def points(self) -> Sequence[TrendPoint]:
        """Oldest first."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a report is made of.

    `timeline` is None where only the run document is known. `config` is pytest's, for hooks of a conftest; None when a
    report is made later, perhaps on another machine.
    """

    run: Run
    timeline: Timeline | None = None
    trends: Sequence[Trend] = ()
    config: Any = None
