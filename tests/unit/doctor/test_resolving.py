"""Claims about the smallest change that a gate would see, from restarts with a known noise."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from perfguard.doctor import report
from perfguard.doctor.measuring import Noise
from perfguard.doctor.resolving import Answer, Question, answer
from perfguard.duet.outcome import CaseRecord
from perfguard.stats.change import ABSOLUTE_PRIOR, Prior, change_against_runs, smallest_against_runs
from perfguard.stats.pairs import RestartFigure


def noise(sd: float, restarts: int = 12, restart_s: float = 2.0) -> Noise:
    rng = np.random.default_rng(3)
    figures = [RestartFigure(x, sd / 10) for x in sd * rng.standard_normal(restarts)]
    fastest = list(np.exp(sd * rng.standard_normal(2 * restarts)))
    fixed, case = [restart_s * 0.75] * restarts, [restart_s * 0.25] * restarts
    shares = [0.0] * restarts
    return Noise(CaseRecord(figures=figures), fastest, shares, shares, fixed, case)


QUESTION = Question(limit=0.05, cases=1, alpha=0.01, budget_s=60.0)


def test_a_quiet_machine_can_and_a_noisy_one_cannot() -> None:
    """2 % of noise resolve 5 % within a minute; 20 % do not, in any time."""
    quiet, noisy = answer(noise(0.02), QUESTION), answer(noise(0.2), QUESTION)
    assert quiet.resolves
    assert quiet.needed is not None
    assert quiet.needed.seconds <= 60
    assert not noisy.resolves
    assert noisy.needed is None


def test_more_time_sees_less_and_more_cases_take_longer() -> None:
    """Changes fall with the budget; twenty cases share one error rate and cost their own seconds."""
    one, twenty = answer(noise(0.03), QUESTION), answer(noise(0.03), Question(0.05, 20, 0.01, 60.0))
    changes = [reach.change for reach in one.reaches]
    assert changes == sorted(changes, reverse=True)
    assert twenty.restart_s == pytest.approx(1.5 + 20 * 0.5)
    assert twenty.within_budget.change > one.within_budget.change
    assert one.stored[10] < one.stored[3]


def test_too_few_restarts_see_nothing_and_json_has_no_infinity() -> None:
    """Less time than five restarts take: not resolved, `nothing` in the text, null in the map."""
    found = answer(noise(0.001, restart_s=30), QUESTION)
    assert not found.resolves
    assert math.isinf(found.within_budget.change)
    told = json.dumps(report.as_map(found, noise(0.001), [], "a-class"), allow_nan=False)
    assert json.loads(told)["within_budget"]["change"] is None
    text = "\n".join(report.lines(found, noise(0.001), [], "a-class"))
    assert "can it tell 5 %? no: a duet of one case and 60 s sees nothing" in text


def test_the_change_against_stored_runs_is_found_as_often_as_it_says() -> None:
    """Simulated: the gate's own interval leaves "no change" out in some 95 % of runs slower by just that."""
    sd, runs = 0.04, 10
    prior = Prior(sd, ABSOLUTE_PRIOR.degrees)
    change = smallest_against_runs(sd, runs, alpha=0.02, prior=prior)
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(400):
        before = np.exp(sd * rng.standard_normal(runs))
        now = float((1 + change) * np.exp(sd * rng.standard_normal()))
        found += change_against_runs(now, before, alpha=0.02, prior=prior).low > 1
    assert 0.90 < found / 400 < 0.99


def test_the_answer_is_a_pure_function() -> None:
    """The same restarts give the same answer."""
    first, second = (answer(noise(0.03), QUESTION) for _ in range(2))
    assert isinstance(first, Answer)
    assert first == second
