"""Claims about the three terms of a loss: exact, signed right, and put where the time went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.ladder import Forward, StageRun
from perfguard.ladder.terms import Terms, exclusive_s, profile_of, terms_between

shapes = st.tuples(st.sampled_from(["prefill", "decode"]), st.integers(1, 3), st.integers(1, 3))
lengths = st.floats(1e-5, 1.0)


@st.composite
def any_runs(draw: st.DrawFn) -> StageRun:
    """A run whose passes may overlap, with any time outside them."""
    passes = draw(st.lists(st.tuples(st.floats(0.0, 2.0), lengths, shapes), min_size=1, max_size=12))
    forwards = tuple(Forward(begin, begin + took, rows, tokens, kind) for begin, took, (kind, rows, tokens) in passes)
    end_s = max(each.end_s for each in forwards) - min(each.begin_s for each in forwards)
    return StageRun(end_s + draw(st.floats(0.0, 1.0)), draw(st.integers(1, 50)), (), forwards)


def series(*passes: tuple[str, int, float], gap_s: float, tokens: int = 10) -> StageRun:
    """Passes (kind, rows, seconds) one after another, and `gap_s` outside them."""
    now_s, forwards = 0.0, []
    for kind, rows, took_s in passes:
        forwards.append(Forward(now_s, now_s + took_s, rows, rows, kind))
        now_s += took_s
    return StageRun(now_s + gap_s, tokens, (), tuple(forwards))


def terms_of(run: StageRun, base: StageRun) -> Terms:
    return terms_between(profile_of(run), profile_of(base))


@given(any_runs(), any_runs())
def test_the_three_terms_are_the_whole_difference(run: StageRun, base: StageRun) -> None:
    """Whatever passes either run made, overlapping ones and shapes of its own: nothing of the loss is left over."""
    loss_s = run.wall_s / run.tokens - base.wall_s / base.tokens
    assert terms_of(run, base).total_s == pytest.approx(loss_s, abs=1e-9)


@given(any_runs())
def test_a_run_loses_nothing_against_itself(run: StageRun) -> None:
    """Each of the terms is nothing, not only their sum."""
    found = terms_of(run, run)
    assert (found.gap_s, found.dilation_s, found.mix_s) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.unmatched == 0


@given(st.lists(st.tuples(st.floats(0.0, 2.0), lengths), min_size=1, max_size=12))
def test_exclusive_times_sum_to_the_union(passes: list[tuple[float, float]]) -> None:
    """Time in which several passes ran counts once, split among them; none gets more than it took."""
    forwards = [Forward(begin, begin + took, 1, 1, "decode") for begin, took in passes]
    union_s, end_s = 0.0, 0.0
    for begin, took in sorted(passes):
        union_s += max(0.0, begin + took - max(begin, end_s))
        end_s = max(end_s, begin + took)
    found = exclusive_s(forwards)
    assert sum(found) == pytest.approx(union_s)
    assert all(0 <= own <= took + 1e-9 for own, (_, took) in zip(found, passes, strict=True))


def test_each_cause_is_put_into_its_term() -> None:
    """Time outside passes is gap, slower passes of one shape are dilation, more and smaller passes are mix."""
    base = series(("decode", 2, 1.0), ("decode", 2, 1.0), gap_s=0.5)
    waits = terms_of(series(("decode", 2, 1.0), ("decode", 2, 1.0), gap_s=1.5), base)
    assert (waits.gap_s, waits.dilation_s, waits.mix_s) == pytest.approx((0.1, 0, 0))
    slower = terms_of(series(("decode", 2, 1.1), ("decode", 2, 1.3), gap_s=0.5), base)
    assert (slower.gap_s, slower.dilation_s, slower.mix_s) == pytest.approx((0, 0.04, 0))
    more = terms_of(series(*[("decode", 2, 1.0)] * 3, gap_s=0.5), base)
    assert (more.gap_s, more.dilation_s, more.mix_s) == pytest.approx((0, 0, 0.1))


def test_a_shape_that_stage_0_never_ran_is_dilated_as_the_others_are() -> None:
    """Passes of two rows take 20 % longer, so a sixth of the new shape is dilation; its share is told."""
    base = series(("decode", 2, 1.0), ("decode", 2, 1.0), gap_s=0.0)
    found = terms_of(series(("decode", 2, 1.2), ("decode", 1, 0.6), ("decode", 1, 0.6), gap_s=0.0), base)
    assert found.dilation_s == pytest.approx((0.2 + 0.2) / 10)
    assert found.mix_s == pytest.approx((1.0 + 1.0 - 2.0) / 10)
    assert found.unmatched == pytest.approx(0.5)


def test_nothing_shared_is_all_mix_and_says_so() -> None:
    """With no common shape there is no dilation to tell: `unmatched` is the whole."""
    found = terms_of(series(("decode", 1, 3.0), gap_s=0.0), series(("decode", 2, 1.0), gap_s=0.0))
    assert (found.dilation_s, found.mix_s, found.unmatched) == pytest.approx((0, 0.2, 1))


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (StageRun(1.0, 10, (), (Forward(0.0, 1.5, 1, 1, "decode"),)), "1.5 s of a wall of 1 s"),
        (StageRun(1.0, 10, (), (Forward(0.5, 0.4, 1, 1, "decode"),)), "ends before it begins"),
    ],
)
def test_runs_that_cannot_be_are_refused(run: StageRun, said: str) -> None:
    """Passes longer than the wall, or backwards, are a mistake of clocks."""
    with pytest.raises(ValueError, match=said):
        profile_of(run)
