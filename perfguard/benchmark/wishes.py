"""What a suite asks for by `--benchmark-*` options and by the `benchmark` marker, and what it comes to here.

Standard library only. The marker wins over the options; `--perfguard-case-seconds` wins over both time budgets,
since it is the later word of whoever runs the suite.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from perfguard.errors import OptionError

if TYPE_CHECKING:
    from perfguard.measure import Plan

Timer = Callable[[], float]

# Keyword arguments of the marker, of both plugins. The last four change nothing here.
MARKER_KEYS = frozenset(
    {"group", "min_rounds", "max_rounds", "max_time", "min_time", "precision", "confidence", "timer", "warmup"}
    | {"disable_gc", "warmup_iterations", "calibration_precision", "cprofile"}
)
_IN_NANOSECONDS: Mapping[Timer, Callable[[], int]] = {
    time.perf_counter: time.perf_counter_ns,
    time.monotonic: time.monotonic_ns,
    time.process_time: time.process_time_ns,
    time.thread_time: time.thread_time_ns,
    time.time: time.time_ns,
}
_SHORTEST_BUDGET_S = 1e-6  # "no time at all": the fewest rounds are measured all the same


@dataclass(frozen=True)
class Wishes:
    """What was asked for, checked; None where nothing was. Times in seconds, precision and confidence fractions."""

    group: str | None = None
    min_rounds: int | None = None
    max_rounds: int | None = None
    max_time_s: float | None = None
    min_time_s: float | None = None
    precision: float | None = None
    confidence: float | None = None
    warmup: bool | None = None
    timer: Timer | None = None
    budget_is_fixed: bool = False

    @classmethod
    def of(cls, case_id: str, options: Mapping[str, Any], marker: Any, *, budget_is_fixed: bool = False) -> Wishes:
        """The wishes for one test. Raises ValueError for a marker with wrong arguments, `OptionError` for a value."""
        if marker is not None and marker.args:
            raise ValueError(f"{case_id}: the benchmark marker takes no positional arguments")
        asked = {} if marker is None else dict(marker.kwargs)
        if unknown := sorted(set(asked) - MARKER_KEYS):
            raise ValueError(f"{case_id}: the benchmark marker does not know {', '.join(unknown)}")
        by_option = {name.replace("-", "_"): value for name, value in options.items()}
        value = _Values(case_id, {name: by_option[name] for name in MARKER_KEYS & by_option.keys()}, asked)
        return cls(
            group=value("group"),
            min_rounds=value("min_rounds", lambda raw: _at_least_one(int(raw))),
            max_rounds=value("max_rounds", lambda raw: _at_least_one(int(raw))),
            max_time_s=value("max_time", _seconds),
            min_time_s=value("min_time", _seconds),
            precision=value("precision", _fraction),
            confidence=value("confidence", _fraction),
            warmup=value("warmup", _switch),
            timer=value("timer", _timer),
            budget_is_fixed=budget_is_fixed,
        )

    def plan(self, plan: Plan) -> Plan:
        """`plan` as wished. At least `min_rounds` are measured whatever the budget, as that plugin has it."""
        if self.max_time_s is not None and not self.budget_is_fixed:
            plan = plan.with_budget(max(self.max_time_s, _SHORTEST_BUDGET_S))
        if self.min_rounds is not None:
            most = max(plan.max_rounds, self.min_rounds)
            plan = replace(plan, min_rounds=self.min_rounds, floor_rounds=self.min_rounds, max_rounds=most)
        if self.max_rounds is not None:
            least, floor = min(plan.min_rounds, self.max_rounds), min(plan.floor_rounds, self.max_rounds)
            plan = replace(plan, min_rounds=least, floor_rounds=floor, max_rounds=self.max_rounds)
        if self.min_time_s is not None:
            plan = replace(plan, min_block_s=self.min_time_s)
        if self.precision is not None:
            plan = replace(plan, target=self.precision, confidence=self.confidence or plan.confidence)
        if self.warmup is False:
            plan = replace(plan, warmup_fraction=0.0)
        return plan

    @property
    def clock(self) -> Callable[[], int] | None:
        """The timer in whole nanoseconds, or None for perfguard's own."""
        if self.timer is None:
            return None
        timer = self.timer
        return _IN_NANOSECONDS.get(timer) or (lambda: round(timer() * 1e9))


@dataclass(frozen=True)
class _Values:
    """Looks a name up in the marker, then in the options, and checks what it finds."""

    case_id: str
    options: Mapping[str, Any]
    marker: Mapping[str, Any]

    def __call__(self, name: str, check: Callable[[Any], Any] = lambda raw: raw) -> Any:
        raw = self.marker.get(name, self.options.get(name))
        if raw is None:
            return None
        culprit = f"{self.case_id}: {name}" if name in self.marker else f"--benchmark-{name.replace('_', '-')}"
        try:
            return check(raw)
        except (TypeError, ValueError, OverflowError, ImportError, AttributeError) as error:
            raise OptionError(culprit, f"{raw!r} cannot be used: {error}") from error


def _at_least_one(number: int) -> int:
    if number < 1:
        raise ValueError("at least 1 is needed")
    return number


def _seconds(raw: Any) -> float:
    seconds = float(raw)
    if not 0 <= seconds < math.inf:
        raise ValueError("give seconds")
    return seconds


def _fraction(raw: Any) -> float:
    fraction = float(raw)
    if not 0 < fraction < 1:
        raise ValueError("give a fraction between 0 and 1")
    return fraction


def _switch(raw: Any) -> bool | None:
    if not isinstance(raw, str):
        return bool(raw)
    word = raw.strip().lower()
    if word == "auto":
        return None
    if word in {"", "on", "true", "yes"}:
        return True
    if word in {"off", "false", "no"}:
        return False
    raise ValueError("it is on, off or auto")


def _timer(raw: Any) -> Timer:
    if isinstance(raw, str):
        module, _, name = raw.rpartition(".")
        if not module:
            raise ValueError("name it with its module, such as time.perf_counter")
        raw = getattr(importlib.import_module(module), name)
    if not callable(raw):
        raise TypeError("a timer is a function that returns seconds")
    timer: Timer = raw
    return timer
