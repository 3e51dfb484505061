"""The figures that pytest-benchmark gives of a case, under its names: what a test and its JSON read.

Pure functions of the rounds. perfguard's own verdicts use none of these.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

FIELDS = (
    *("min", "max", "mean", "stddev", "rounds", "median", "iqr", "q1", "q3", "iqr_outliers", "stddev_outliers"),
    *("outliers", "ld15iqr", "hd15iqr", "ops", "total"),
)
_FENCE = 1.5  # Tukey's: beyond 1.5 interquartile ranges from the quartiles lies an outlier


@dataclass(frozen=True)
class Stats:
    """Figures of `data`: seconds per call of each round, at least one round."""

    data: Sequence[float]

    @cached_property
    def sorted_data(self) -> list[float]:
        """The rounds, fastest first."""
        return sorted(self.data)

    @property
    def rounds(self) -> int:
        """How many rounds."""
        return len(self.data)

    @cached_property
    def total(self) -> float:
        """The sum over rounds, in seconds."""
        return math.fsum(self.data)

    @property
    def min(self) -> float:
        """The fastest round."""
        return self.sorted_data[0]

    @property
    def max(self) -> float:
        """The slowest round."""
        return self.sorted_data[-1]

    @property
    def mean(self) -> float:
        """The arithmetic mean."""
        return self.total / self.rounds

    @cached_property
    def stddev(self) -> float:
        """The sample standard deviation; 0 for one round."""
        return statistics.stdev(self.data) if self.rounds > 1 else 0.0

    @cached_property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.data)

    @property
    def q1(self) -> float:
        """The lower quartile."""
        return self._quantile(0.25)

    @property
    def q3(self) -> float:
        """The upper quartile."""
        return self._quantile(0.75)

    @property
    def iqr(self) -> float:
        """The interquartile range."""
        return self.q3 - self.q1

    @property
    def stddev_outliers(self) -> int:
        """Rounds beyond one standard deviation from the mean."""
        return sum(abs(value - self.mean) > self.stddev for value in self.data)

    @property
    def iqr_outliers(self) -> int:
        """Rounds beyond Tukey's fences."""
        low, high = self._fences
        return sum(not low <= value <= high for value in self.data)

    @property
    def outliers(self) -> str:
        """Both counts of outliers, as that plugin's tables have them."""
        return f"{self.stddev_outliers};{self.iqr_outliers}"

    @property
    def ld15iqr(self) -> float:
        """The fastest round within Tukey's fences."""
        low, _ = self._fences
        return next(value for value in self.sorted_data if value >= low)

    @property
    def hd15iqr(self) -> float:
        """The slowest round within Tukey's fences."""
        _, high = self._fences
        return next(value for value in reversed(self.sorted_data) if value <= high)

    @property
    def ops(self) -> float:
        """Calls per second at the mean; 0 if the clock saw none of them."""
        return self.rounds / self.total if self.total else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All figures by name."""
        return {name: getattr(self, name) for name in FIELDS}

    @cached_property
    def _fences(self) -> tuple[float, float]:
        q1, q3 = self.q1, self.q3
        return q1 - _FENCE * (q3 - q1), q3 + _FENCE * (q3 - q1)

    def _quantile(self, p: float) -> float:
        """Interpolated at rank n p + 1/2: definition 5 of Hyndman & Fan, The American Statistician 50 (1996) 361-365.

        For quartiles of an even number of samples these are the medians of the halves.
        """
        data = self.sorted_data
        rank = min(max(len(data) * p + 0.5, 1.0), float(len(data)))
        below = math.floor(rank)
        share = rank - below
        low = data[below - 1]
        return low if share == 0 else low + share * (data[below] - low)


@dataclass(frozen=True)
class Result:
    """`benchmark.stats` after a measurement: `result["mean"]`, `result.stats.mean`, and what was measured how."""

    name: str
    fullname: str
    group: str | None
    param: str | None
    params: Mapping[str, Any] | None
    extra_info: dict[str, Any]
    iterations: int
    options: Mapping[str, Any]
    stats: Stats
    has_error: bool = field(default=False, kw_only=True)

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self.stats if name in FIELDS or name == "data" else self, name)
        except AttributeError:
            raise KeyError(name) from None

    def get(self, name: str, default: Any = None) -> Any:
        """A figure or a fact by name."""
        try:
            return self[name]
        except KeyError:
            return default

    def as_dict(self, include_data: bool = True, flat: bool = False, stats: bool = True) -> dict[str, Any]:
        """One entry of that plugin's JSON."""
        figures: dict[str, Any] = {}
        if stats:
            data = {"data": list(self.stats.data)} if include_data else {}
            figures = {**self.stats.as_dict(), **data, "iterations": self.iterations}
        names = ("group", "name", "fullname", "params", "param", "extra_info", "options")
        facts = {name: getattr(self, name) for name in names}
        return {**facts, **figures} if flat or not stats else {**facts, "stats": figures}
