"""What options and markers ask for, and what it comes to in a plan."""

from __future__ import annotations

import time
from typing import Any

import pytest

from perfguard.benchmark.wishes import Wishes
from perfguard.errors import OptionError
from perfguard.measure import Plan

PLAN = Plan(budget_s=1.0, min_rounds=10, floor_rounds=3, max_rounds=100)


def wishes(options: dict[str, Any] | None = None, fixed: bool = False, **marker: Any) -> Wishes:
    return Wishes.of("t.py::t", options or {}, pytest.mark.benchmark(**marker).mark, budget_is_fixed=fixed)


def test_nothing_asked_changes_nothing() -> None:
    """The profile's plan and perfguard's clock."""
    assert wishes().plan(PLAN) == PLAN
    assert wishes().clock is None
    assert Wishes.of("t", {}, None) == Wishes()


def test_each_wish_lands_in_the_plan() -> None:
    """Rounds at least, budget, block length, precision, no warm-up."""
    plan = wishes(min_rounds=200, max_time=0.5, min_time=0.01, precision=0.02, confidence=0.9, warmup=False).plan(PLAN)
    assert (plan.min_rounds, plan.floor_rounds, plan.max_rounds) == (200, 200, 200)
    assert (plan.budget_s, plan.min_block_s, plan.target, plan.confidence) == (0.5, 0.01, 0.02, 0.9)
    assert plan.warmup_fraction == 0.0


def test_max_rounds_bounds_all_others() -> None:
    """pytest-codspeed's argument: no more rounds than that."""
    plan = wishes(max_rounds=2).plan(PLAN)
    assert (plan.min_rounds, plan.floor_rounds, plan.max_rounds) == (2, 2, 2)


def test_the_marker_wins_over_options_and_a_given_budget_over_both() -> None:
    """Options are text, as from a command line."""
    options = {"max-time": "3", "min-rounds": "4"}
    assert wishes(options).plan(PLAN).budget_s == 3.0
    assert wishes(options, max_time=2).plan(PLAN).budget_s == 2.0
    fixed = wishes(options, fixed=True, max_time=2).plan(PLAN)
    assert (fixed.budget_s, fixed.min_rounds) == (1.0, 4)
    assert 0 < wishes(max_time=0).plan(PLAN).budget_s < 1e-3


@pytest.mark.parametrize(("word", "meant"), [("", True), ("on", True), ("Off", False), ("auto", None), (True, True)])
def test_warmup_has_three_answers(word: Any, meant: bool | None) -> None:
    """As that plugin's option has them."""
    assert wishes({"warmup": word}).warmup is meant


def test_timers_count_nanoseconds() -> None:
    """Known timers by their exact twins, others by rounding; by option they are named."""
    assert wishes(timer=time.process_time).clock is time.process_time_ns
    assert wishes({"timer": "time.perf_counter"}).clock is time.perf_counter_ns
    own = wishes(timer=lambda: 1.5).clock
    assert own is not None
    assert own() == 1_500_000_000


@pytest.mark.parametrize(
    ("options", "marker", "culprit"),
    [
        ({"min-rounds": "x"}, {}, "--benchmark-min-rounds"),
        ({"min-rounds": "0"}, {}, "--benchmark-min-rounds"),
        ({"max-time": "nan"}, {}, "--benchmark-max-time"),
        ({"warmup": "maybe"}, {}, "--benchmark-warmup"),
        ({"timer": "nodots"}, {}, "--benchmark-timer"),
        ({"timer": "time.nothing"}, {}, "--benchmark-timer"),
        ({"timer": "no_such_module_anywhere.x"}, {}, "--benchmark-timer"),
        ({}, {"timer": 3}, "t.py::t: timer"),
        ({}, {"precision": 2}, "t.py::t: precision"),
        ({}, {"min_time": -1}, "t.py::t: min_time"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(options: dict[str, Any], marker: dict[str, Any], culprit: str) -> None:
    """The option as written, or the test and the argument."""
    with pytest.raises(OptionError) as caught:
        wishes(options, **marker)
    assert caught.value.culprit == culprit


def test_a_marker_with_wrong_arguments_is_a_value_error() -> None:
    """As in pytest-benchmark."""
    with pytest.raises(ValueError, match="positional"):
        Wishes.of("t", {}, pytest.mark.benchmark("g").mark)
    with pytest.raises(ValueError, match="does not know speed"):
        wishes(speed=9)
