"""Claims about the search, on made histories: what it finds, in how many steps, and what its answers may cost."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.bisect.search import Answer, Search, Spending, halfway


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, frozenset[int]]:
    """The number of commits, the first slow one, and those that cannot be told (never the ends)."""
    size = draw(st.integers(1, 300))
    slow = draw(st.integers(1, size))
    runs = draw(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 40)), max_size=6))
    untold = {position for start, length in runs for position in range(start, start + length)}
    return size, slow, frozenset(position for position in untold if position < size)


def searched(size: int, answer: Callable[[int], Answer]) -> tuple[Search, list[tuple[int, Answer]]]:
    """The end of a search, and all its questions with their answers."""
    search, asked = Search.over(size), []
    while (position := search.next()) is not None:
        asked.append((position, answer(position)))
        search = search.answered(*asked[-1])
    return search, asked


@given(histories())
def test_it_finds_the_commit_or_the_smallest_range_that_can_be_told(history: tuple[int, int, frozenset[int]]) -> None:
    """The suspects hold the slow commit and, beside it, exactly the commits around it that cannot be told."""
    size, slow, untold = history
    search, _ = searched(size, lambda p: "skip" if p in untold else "bad" if p >= slow else "good")
    good = max(p for p in range(slow) if p not in untold)
    bad = min(p for p in range(slow, size + 1) if p not in untold)
    assert list(search.suspects) == list(range(good + 1, bad + 1))


@given(histories())
def test_it_takes_few_steps(history: tuple[int, int, frozenset[int]]) -> None:
    """Each commit is asked once; at most log2(n) steps and the skips, with skips one more."""
    size, slow, untold = history
    _, asked = searched(size, lambda p: "skip" if p in untold else "bad" if p >= slow else "good")
    skips = sum(answer == "skip" for _, answer in asked)
    assert len({position for position, _ in asked}) == len(asked)
    assert len(asked) <= math.ceil(math.log2(size)) + skips + (skips > 0)
    if not untold:
        assert len(asked) <= Search.over(size).steps_left == math.ceil(math.log2(size))


def test_a_stretch_that_cannot_be_built_is_jumped_out_of() -> None:
    """A hundred broken commits around the middle of a thousand cost a handful of skips, not a hundred."""
    _, asked = searched(1000, lambda p: "skip" if 450 <= p < 550 else "bad" if p >= 800 else "good")
    assert sum(answer == "skip" for _, answer in asked) <= 9


def test_neighbours_leave_nothing_to_ask() -> None:
    """With GOOD as BAD's parent the commit is known without a step."""
    search = Search.over(1)
    assert (search.next(), list(search.suspects), search.steps_left) == (None, [1], 0)


@pytest.mark.parametrize("position", [0, 8, 9, -1])
def test_only_what_was_asked_can_be_answered(position: int) -> None:
    """Ends and strangers are refused, and so is a commit that was skipped before."""
    with pytest.raises(ValueError, match="untested"):
        Search.over(8).answered(position, "good")
    with pytest.raises(ValueError, match="untested"):
        Search.over(8).answered(4, "skip").answered(4, "bad")
    with pytest.raises(ValueError, match="history of 0"):
        Search.over(0)


@given(st.floats(1e-6, 0.4), st.integers(0, 20), st.integers(0, 200))
def test_all_comparisons_together_spend_at_most_alpha(alpha: float, steps: int, further: int) -> None:
    """Both ends, each step, the neighbours, and any number of repeats and detours."""
    spending = Spending(alpha, steps)
    spent = (steps + 2) * spending.share + sum(spending.further(j) for j in range(1, further + 1))
    assert spent <= alpha * (1 + 1e-9)


@given(st.floats(1.0, 1e9))
def test_the_limit_is_half_of_the_slowdown(slowdown: float) -> None:
    """Applied twice it is the whole: neither end is nearer."""
    assert (1 + halfway(slowdown)) ** 2 == pytest.approx(slowdown)
