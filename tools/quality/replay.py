"""Decisions on recorded noise: what live rounds measured of unchanged cases, put together anew thousands of times.

Live rounds are few, and a suite-level rate of one per cent cannot be seen in twenty of them. But each recorded restart
is real noise of this machine, and which of its sides was slower is a coin that was tossed when it was measured: tossing
it again gives a restart that could have been. Likewise any eleven recorded process runs are a baseline and a new run.
A change is put in by multiplying the times of the new side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from rates import Rate

from perfguard.stats.change import (
    ABSOLUTE_PRIOR,
    ChangeInterval,
    Prior,
    at_one_speed,
    change_against_runs,
    change_at_one_speed,
)
from perfguard.stats.prior import learn_prior
from perfguard.stats.sequence import learn_duet_prior
from perfguard.stats.sequential import DuetPlan, decide_along

Array = npt.NDArray[np.float64]
CHANGES = (0, 3, 5, 10, 20)
BASELINE_RUNS = 10
STORED_LIMIT = 0.10
ALPHA = 0.01


def replay_duets(
    restarts: Mapping[str, Sequence[tuple[float, float]]], suites: int, plan: DuetPlan, rng: np.random.Generator
) -> dict[str, Rate]:
    """Rates over made suites of one case per kind: `false_alarm_case`, `false_alarm_suite`, `detect_3`, ...

    `restarts`: of each case the (log ratio, standard error) of recorded restarts.
    """
    rates = {name: Rate() for name in _NAMES}
    pools = [np.array(found) for found in restarts.values() if len(found) >= plan.min_restarts]
    shape = (suites, plan.max_restarts)
    for_suite = np.zeros(suites, dtype=bool)
    for pool in pools:
        chosen = pool[rng.integers(0, len(pool), shape)]
        noise = chosen[..., 0] * rng.choice([-1, 1], shape)
        prior = learn_duet_prior(list(noise[:12]))
        for change in CHANGES:
            path = decide_along(noise + np.log1p(change / 100), chosen[..., 1], plan, prior)
            slower = _first(path.verdict == "slower") < _first(path.verdict == "same")
            _count(rates, change, slower)
            if change == 0:
                for_suite |= slower
    rates["false_alarm_suite"] = Rate(int(for_suite.sum()), suites)
    return rates


def replay_stored(
    runs: Mapping[str, Sequence[Sequence[float]]], suites: int, basis: str, rng: np.random.Generator
) -> dict[str, Rate]:
    """The same for stored baselines: `runs` holds of each case (median, fastest, reference) of recorded process runs.

    All cases of a made suite come from the same runs, as they would; `basis` is "median", "fastest" or "one speed".
    """
    rates = {name: Rate() for name in _NAMES}
    names = list(runs)
    count = min(len(found) for found in runs.values())
    for _ in range(suites):
        order = rng.permutation(count)[: BASELINE_RUNS + 1]
        figures = {name: np.array([runs[name][i] for i in order]) for name in names}
        prior = learn_prior([_as_compared(found[:-1], basis) for found in figures.values()], ABSOLUTE_PRIOR)
        alarmed = False
        for found in figures.values():
            for change in CHANGES:
                told = _change(found, basis, 1 + change / 100, 2 * ALPHA / len(names), prior)
                slower = told.low > 1 and told.ratio > 1 + STORED_LIMIT
                _count(rates, change, np.array([slower]))
                alarmed |= slower and change == 0
        rates["false_alarm_suite"] += Rate(int(alarmed), 1)
    return rates


_NAMES = ("false_alarm_case", "false_alarm_suite", *(f"detect_{change}" for change in CHANGES[1:]))


def _count(rates: dict[str, Rate], change: int, slower: npt.NDArray[np.bool_]) -> None:
    rates["false_alarm_case" if change == 0 else f"detect_{change}"] += Rate(int(slower.sum()), slower.size)


def _first(marks: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.where(marks.any(-1), marks.argmax(-1), marks.shape[-1] + marks[..., 0])


def _as_compared(found: Array, basis: str) -> list[float]:
    if basis == "one speed":
        return at_one_speed(found[:, 1], found[:, 2])
    return [float(figure) for figure in found[:, 0 if basis == "median" else 1]]


def _change(found: Array, basis: str, factor: float, alpha: float, prior: Prior) -> ChangeInterval:
    column = 0 if basis == "median" else 1
    now, before = factor * float(found[-1, column]), found[:-1, column]
    if basis == "one speed":
        return change_at_one_speed(now, before, float(found[-1, 2]), found[:-1, 2], alpha=alpha, prior=prior)
    return change_against_runs(now, before, alpha=alpha, prior=prior)
