"""Claims about what a duet decides."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.stats import Prior
from perfguard.stats.sequential import (
    DuetPlan,
    compare_counts,
    decide,
    decide_along,
    smallest_detectable,
)

PLAN = DuetPlan(tests=40)
QUIET = Prior(0.01, 8)
differences = st.lists(st.floats(min_value=-0.3, max_value=0.3), min_size=1, max_size=30)


def noise(restarts: int, change: float = 0.0, sd: float = 0.01) -> np.ndarray:
    return np.random.default_rng(6).normal(math.log1p(change), sd, restarts)


@pytest.mark.parametrize(
    ("change", "verdict"), [(0.0, "same"), (0.05, "slower"), (0.2, "slower"), (-0.1, "faster"), (0.01, "same")]
)
def test_clear_changes_are_decided(change: float, verdict: str) -> None:
    """With 1 % between restarts, twenty of them tell none, 1 %, 5 %, 20 % and -10 % for what they are."""
    decision = decide(noise(20, change), None, PLAN, QUIET)
    assert decision.verdict == verdict
    assert decision.low <= 1 + change <= decision.high
    assert decision.restarts == 20


def test_no_alarm_before_a_coin_could_be_excluded() -> None:
    """Ten restarts that all show +50 % do not alarm in a suite of forty: ten heads happen too often. Twenty do."""
    path = decide_along(np.full(20, 0.4), None, PLAN, QUIET).verdict
    assert set(path[: PLAN.fewest_restarts - 1]) == {"undecided"}
    assert path[-1] == "slower"


def test_a_certain_but_small_change_is_same() -> None:
    """A slowdown of 1 % that is certain, where one as large as the limit is excluded, is no alarm."""
    decision = decide(noise(30, 0.01, sd=0.003), None, PLAN, Prior(0.003, 8))
    assert decision.evidence > PLAN.threshold
    assert decision.verdict == "same"


def test_noise_beyond_the_limit_is_never_called_same() -> None:
    """Where the run could not have found a change of the limit, it does not claim that there is none."""
    decision = decide(noise(30, sd=0.2), None, PLAN, Prior(0.2, 8))
    assert decision.detectable > PLAN.limit
    assert decision.verdict == "undecided"


@given(differences)
def test_the_mirror_image_gets_the_mirrored_verdict(values: list[float]) -> None:
    """Swapping the revisions swaps slower and faster, and inverts the ratio."""
    swap = {"slower": "faster", "faster": "slower"}
    one, other = decide(values, None, PLAN, QUIET), decide(-np.array(values), None, PLAN, QUIET)
    assert other.verdict == swap.get(one.verdict, one.verdict)
    assert other.ratio == pytest.approx(1 / one.ratio)
    assert other.low == pytest.approx(1 / one.high) or math.isinf(one.high)


@given(differences, st.integers(1, 30))
def test_each_step_of_the_way_is_the_decision_then(values: list[float], upto: int) -> None:
    """What is decided after n restarts is the same whether or not more were measured since."""
    upto = min(upto, len(values))
    errors = np.abs(values)
    path = decide_along(values, errors, PLAN, QUIET)
    assert decide(values[:upto], errors[:upto], PLAN, QUIET).verdict == path.verdict[upto - 1]


@given(differences)
def test_more_tests_never_make_an_alarm_easier(values: list[float]) -> None:
    """What alarms among a hundred tests also alarms alone."""
    if decide(values, None, replace(PLAN, tests=100), QUIET).verdict == "slower":
        assert decide(values, None, replace(PLAN, tests=1), QUIET).verdict == "slower"


def test_what_could_be_detected_follows_noise_and_effort() -> None:
    """More noise or more tests raise it, more restarts lower it, and too few restarts detect nothing."""
    base = smallest_detectable(0.01, PLAN)
    assert 0.01 < base < 0.02
    assert smallest_detectable(0.02, PLAN) > base
    assert smallest_detectable(0.01, replace(PLAN, tests=400)) > base
    assert smallest_detectable(0.01, replace(PLAN, max_restarts=60)) < base
    assert math.isinf(smallest_detectable(0.01, replace(PLAN, max_restarts=10)))


def test_certain_counts_need_no_limit() -> None:
    """One more call is slower, one fewer faster, equal is same, from a single restart; zero to some is infinite."""
    assert compare_counts([100], [101], PLAN).verdict == "slower"
    assert compare_counts([100, 100], [99, 99], PLAN).verdict == "faster"
    same = compare_counts([0, 0], [0, 0], PLAN)
    assert (same.verdict, same.ratio, same.p) == ("same", 1.0, 0.0)
    assert math.isinf(compare_counts([0], [3], PLAN).ratio)


def test_counts_that_vary_are_noise() -> None:
    """Counts that differ between restarts are decided like times: not from three of them."""
    assert compare_counts([100, 103, 99], [104, 101, 102], PLAN).verdict == "undecided"
    rng = np.random.default_rng(8)
    assert compare_counts(rng.integers(95, 105, 30), rng.integers(195, 205, 30), PLAN).verdict == "slower"


@pytest.mark.parametrize(("a", "b"), [([1], [1, 2]), ([], []), ([-1], [1]), ([1], [float("nan")])])
def test_counts_that_are_none_are_refused(a: list[float], b: list[float]) -> None:
    """Different lengths, nothing, negative and non-finite counts."""
    with pytest.raises(ValueError, match="counts"):
        compare_counts(a, b, PLAN)


@pytest.mark.parametrize(
    "fields", [{"alpha": 0}, {"tests": 0}, {"limit": 0}, {"confidence": 1}, {"min_restarts": 1}, {"max_restarts": 4}]
)
def test_a_plan_that_is_none_is_refused(fields: dict[str, float]) -> None:
    """Error rates outside (0, 1), no tests, no limit, more restarts at least than at most."""
    with pytest.raises(ValueError, match=r"alpha|restarts"):
        DuetPlan(**fields)  # type: ignore[arg-type]


def test_a_decision_needs_a_restart() -> None:
    """Nothing measured is an error, not a verdict."""
    with pytest.raises(ValueError, match="restart"):
        decide([], None, PLAN)
