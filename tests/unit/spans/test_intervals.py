"""Claims about interval algebra: equal to counting unit by unit, exact in nanoseconds, strict with bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.errors import MeasurementError
from perfguard.spans.intervals import MAX_NS, as_intervals, clip, gaps, intersection, length, seconds, union

SOME = st.lists(st.tuples(st.integers(-20, 20), st.integers(0, 12)).map(lambda p: (p[0], p[0] + p[1])), max_size=12)
OFFSETS = st.sampled_from([0, 1_795_795_200_123_456_789])  # a time since 1970 that no float64 holds


def units(intervals: object) -> set[int]:
    """The oracle: every whole unit that is covered, one by one."""
    return {at for start, end in np.asarray(intervals).tolist() for at in range(start, end)}


def shifted(pairs: list[tuple[int, int]], by: int) -> list[tuple[int, int]]:
    return [(start + by, end + by) for start, end in pairs]


@given(SOME, SOME, OFFSETS)
def test_set_operations_equal_counting_unit_by_unit(
    first: list[tuple[int, int]], second: list[tuple[int, int]], offset: int
) -> None:
    """Union, intersection and length are those of the sets of units, at any distance from zero, without rounding."""
    a, b = shifted(first, offset), shifted(second, offset)
    assert units(union(a, b)) == units(a) | units(b)
    assert units(intersection(a, b)) == units(a) & units(b)
    assert length(a) == len(units(a))
    assert length(union(a, b)) + length(intersection(a, b)) == length(a) + length(b)


@given(SOME, st.integers(-25, 25), st.integers(0, 30), OFFSETS)
def test_clip_and_gaps_share_the_scope_out(pairs: list[tuple[int, int]], start: int, width: int, offset: int) -> None:
    """Every unit of a scope is in the clipped intervals or in the gaps, never in both."""
    a, scope = shifted(pairs, offset), (start + offset, start + width + offset)
    assert units(clip(a, *scope)) == units(a) & units([scope])
    assert units(gaps(a, *scope)) == units([scope]) - units(a)


@given(SOME, SOME)
def test_results_are_sorted_disjoint_and_apart(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    """A result has no empty, touching or unsorted intervals, so that each is one uninterrupted stretch."""
    for result in (union(first, second), intersection(first, second), gaps(first, -30, 30), clip(second, -5, 5)):
        assert result.dtype == np.int64
        assert (result[:, 0] < result[:, 1]).all()
        assert (result[:-1, 1] < result[1:, 0]).all()


@given(SOME, SOME)
def test_seconds_give_what_nanoseconds_give(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    """Float seconds go through the same algebra, and stay floats."""
    a, b = np.array(first, float).reshape(-1, 2), np.array(second, float).reshape(-1, 2)
    assert intersection(a, b).dtype == np.float64
    assert seconds(intersection(a, b)) == length(intersection(first, second))
    assert seconds(np.array([[0, 1_500_000_000]])) == 1.5


def test_an_end_before_its_start_is_named() -> None:
    """The error says which row of which argument runs backwards."""
    with pytest.raises(MeasurementError, match=r"copies\[1\]: ends at 3, before its start 5"):
        as_intervals([(0, 1), (5, 3)], "copies")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ([1, 2, 3], "shape"),
        ([(0, 1, 2)], "shape"),
        ([(0, 1), (2,)], "no array of intervals"),
        ([("a", "b")], "not numbers"),
        ([(True, False)], "not numbers"),
        ([(0j, 1j)], "not numbers"),
        ([(0.0, float("nan"))], "nan"),
        ([(0.0, float("inf"))], "inf"),
        ([(0, MAX_NS + 1)], "beyond"),
        (np.array([(0, 2**63)], np.uint64), "beyond"),
        ([(0, 2**70)], "not numbers"),
    ],
)
def test_what_is_no_interval_is_refused(raw: object, says: str) -> None:
    """Wrong shapes, types, NaN, infinities and times that would overflow are errors, not figures."""
    with pytest.raises(MeasurementError, match=says):
        as_intervals(raw)  # type: ignore[arg-type]


def test_nanoseconds_and_seconds_do_not_mix() -> None:
    """Integers and floats in one operation are two units: refused, also as a scope."""
    for mixed in (
        lambda: union([(0, 1)], [(0.0, 1.0)]),
        lambda: intersection([(0, 1)], [(0.0, 1.0)]),
        lambda: clip([(0, 1)], 0.0, 0.5),
    ):
        with pytest.raises(MeasurementError, match="nanoseconds"):
            mixed()
    assert union([], [(0.5, 1.0)]).tolist() == [[0.5, 1.0]]
    assert gaps([], 0.5, 1.0).tolist() == [[0.5, 1.0]]
    assert union().tolist() == []
