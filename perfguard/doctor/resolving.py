"""From the noise of some restarts to the smallest change that a gate on this machine would see."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import numpy as np

from perfguard.doctor.measuring import Noise
from perfguard.duet.engine import FEWEST_RESTARTS, MOST_RESTARTS
from perfguard.duet.judging import usual_noise
from perfguard.gate.policy import Policy, per_test_alpha
from perfguard.stats.change import ABSOLUTE_PRIOR, Prior, smallest_against_runs
from perfguard.stats.sequential import DuetPlan, decide, smallest_detectable

BUDGETS_S = (30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
STORED_RUNS = (3, 5, 10)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a change of `limit` in `cases` cases, one gated time each, within `budget_s` for all together."""

    limit: float
    cases: int
    alpha: float
    budget_s: float


@dataclass(frozen=True, slots=True)
class Reach:
    """A duet of so many seconds: its restarts, and the smallest slowdown seen in 95 of 100 (0.02 is 2 %)."""

    seconds: float
    restarts: int
    change: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole of it. `sd` is that of a restart's log ratio, `run_sd` that of a process run's log fastest round.

    `restart_s` is what a restart of all cases takes; `needed` is the shortest duet that resolves the limit, None if
    none of up to `MOST_RESTARTS` does. `stored`: stored process runs -> the smallest change against them.
    """

    question: Question
    resolves: bool
    sd: float
    run_sd: float
    restart_s: float
    within_budget: Reach
    needed: Reach | None
    reaches: tuple[Reach, ...]
    stored: dict[int, float]


def answer(noise: Noise, question: Question) -> Answer:
    """What a gate would see, from the restarts' own decision; deterministic."""
    log_ratios, within_se = noise.record.log_ratios()
    prior = usual_noise([noise.record])
    sd = decide(log_ratios, within_se, _plan(question, MOST_RESTARTS), prior).sd
    restart_s = statistics.median(noise.fixed_s) + question.cases * statistics.median(noise.case_s)
    within = _reach(question, sd, restart_s, question.budget_s)
    run_sd = float(np.std(np.log(noise.fastest_s), ddof=1))
    per_test = per_test_alpha(Policy(question.alpha), question.cases)
    learnt = Prior(max(run_sd, 1e-4), ABSOLUTE_PRIOR.degrees)
    return Answer(
        question,
        resolves=within.change <= question.limit,
        sd=sd,
        run_sd=run_sd,
        restart_s=restart_s,
        within_budget=within,
        needed=_needed(question, sd, restart_s),
        reaches=tuple(_reach(question, sd, restart_s, seconds) for seconds in BUDGETS_S),
        stored={
            runs: max(question.limit, smallest_against_runs(run_sd, runs, alpha=per_test, prior=learnt))
            for runs in STORED_RUNS
        },
    )


def _plan(question: Question, restarts: int) -> DuetPlan:
    return DuetPlan(question.alpha, question.cases, question.limit, max_restarts=restarts)


def _reach(question: Question, sd: float, restart_s: float, seconds: float) -> Reach:
    restarts = min(MOST_RESTARTS, int(seconds / restart_s))
    if restarts < FEWEST_RESTARTS:
        return Reach(seconds, restarts, math.inf)
    return Reach(seconds, restarts, smallest_detectable(sd, _plan(question, restarts)))


def _needed(question: Question, sd: float, restart_s: float) -> Reach | None:
    """By bisection: more restarts never see less."""
    low, high = FEWEST_RESTARTS, MOST_RESTARTS
    if smallest_detectable(sd, _plan(question, high)) > question.limit:
        return None
    while low < high:
        middle = (low + high) // 2
        if smallest_detectable(sd, _plan(question, middle)) <= question.limit:
            high = middle
        else:
            low = middle + 1
    return Reach(low * restart_s, low, smallest_detectable(sd, _plan(question, low)))
