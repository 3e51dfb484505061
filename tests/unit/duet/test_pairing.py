"""Claims about what is timed and compared in a restart: blocks of both sides alike, figures that a coin can swap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.document import Direction, Kind
from perfguard.duet.judging import differences, judge_case
from perfguard.duet.outcome import CaseRecord, phase_changes
from perfguard.duet.pairing import A, B, Half, calls_of_block
from perfguard.stats.change import Prior
from perfguard.stats.sequential import DuetPlan

PLAN = DuetPlan(alpha=0.05, min_restarts=2, max_restarts=20)
PRIOR = Prior(0.01, 4)


def record_of(before: list[float], now: list[float], kind: Kind, direction: Direction) -> CaseRecord:
    """A case that only records a figure, as each restart's halves have it."""
    record = CaseRecord()
    for pair in zip(before, now, strict=True):
        entries = [
            {
                "figure": {
                    "unit": "",
                    "kind": kind,
                    "direction": direction,
                    "gated": True,
                    "limit": None,
                    "median": value,
                }
            }
            for value in pair
        ]
        record.add({A: Half(records=entries[0]), B: Half(records=entries[1])})
    return record


def verdict_of(before: list[float], now: list[float], kind: Kind, direction: Direction) -> tuple[str, float]:
    verdict = judge_case(record_of(before, now, kind, direction), PRIOR, PLAN, 0.03).verdicts["figure"]
    assert verdict.change is not None
    return verdict.verdict, verdict.change.ratio


@given(st.lists(st.tuples(*[st.floats(0, 1e6)] * 2), min_size=1, max_size=20), st.sampled_from(["fraction", "ratio"]))
def test_swapping_the_sides_changes_the_sign_and_nothing_else(pairs: list[tuple[float, float]], kind: Kind) -> None:
    """Also for figures that touch zero, and each restart's value is its own."""
    before, now = np.array(pairs).T
    forth, back = differences(kind, before, now), differences(kind, now, before)
    assert (forth == -back).all()
    assert differences(kind, before[-1:], now[-1:])[0] == forth[-1]


@pytest.mark.parametrize(
    ("before", "now", "direction", "verdict", "ratio"),
    [
        (50, 100, "higher", "faster", 2.0),
        (100, 50, "higher", "slower", 0.5),
        (50, 51, "lower", "slower", 1.02),
        (50, 50, "higher", "same", 1.0),
    ],
)
def test_counts_are_judged_by_which_direction_is_better(
    before: float, now: float, direction: Direction, verdict: str, ratio: float
) -> None:
    """One hit more is better, one call more is worse; the ratio is now over before in both."""
    assert verdict_of([before] * 3, [now] * 3, "count", direction) == (verdict, pytest.approx(ratio))


def test_a_ratio_of_which_more_is_better_gets_slower_when_it_falls() -> None:
    """Twenty restarts in which it fell by a tenth."""
    before = (1 + 0.001 * np.arange(20)).tolist()
    verdict, ratio = verdict_of(before, [0.9 * value for value in before], "ratio", "higher")
    assert (verdict, ratio) == ("slower", pytest.approx(0.9))


def test_a_case_without_anything_to_compare_is_certain_and_says_what_it_lost() -> None:
    """The working tree no longer reports the figure: nothing is left to measure."""
    record = CaseRecord()
    entry = {"unit": "", "kind": "count", "direction": "lower", "gated": True, "limit": None, "median": 1.0}
    record.add({A: Half(records={"figure": entry}), B: Half()})
    assert judge_case(record, PRIOR, PLAN, 0.03).certain
    assert record.lost() == ["figure"]


def test_both_sides_have_as_many_calls_in_a_block_as_the_faster_needs() -> None:
    """200 calls last a millisecond on one side, 100 on the other: blocks of 200."""
    sides = [{"calls": 200, "block_ns": 1_000_000}, {"calls": 100, "block_ns": 1_000_000}]
    assert calls_of_block(sides, 0.2) == (200, pytest.approx(0.003))


def test_a_side_that_became_a_thousand_times_faster_does_not_stretch_the_blocks() -> None:
    """10 ms before, 50 ns now: 20 000 calls would take 200 s on the old side."""
    sides = [{"calls": 1, "block_ns": 10_000_000}, {"calls": 20_000, "block_ns": 1_000_000}]
    calls, pair_s = calls_of_block(sides, 0.2)
    assert calls < 5
    assert pair_s <= 0.021


def halves_with_phases(rng: np.random.Generator, slower: float) -> dict[str, Half]:
    """A restart of 30 pairs: `work` takes half of a call and is slower by `slower`; each pair has its own speed."""
    halves = {A: Half(), B: Half()}
    for _ in range(30):
        speed = 1 + 0.7 * rng.random()
        for side, factor in ((A, 1.0), (B, 1.0 + slower)):
            parts = {"prepare": 300_000, "work": 500_000 * factor, "finish": 200_000}
            totals = {path: (int(ns * speed * (1 + 0.01 * rng.random())), 1) for path, ns in parts.items()}
            halves[side].add({"ns": sum(own for own, _ in totals.values()) + 1000, "phases": totals}, 1)
    return halves


def test_a_change_of_one_phase_is_told_from_a_machine_that_changes_its_speed() -> None:
    """3 % of a call, all of it in one phase, while pairs differ by 70 %: named with 95 % of the change or more."""
    rng, record = np.random.default_rng(1), CaseRecord()
    for _ in range(12):
        record.add(halves_with_phases(rng, 0.06))
    first, *others = phase_changes(record, PRIOR, 0.03)
    assert first.path == "work"
    assert 0.95 < first.share < 1.05
    assert first.ratio == pytest.approx(1.06, abs=0.002)
    assert first.verdict == "slower"
    assert {other.verdict for other in others if other.ratio is not None} == {"same"}
