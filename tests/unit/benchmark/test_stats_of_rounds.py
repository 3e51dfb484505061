"""The figures that pytest-benchmark gives of a case, from the same definitions."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.benchmark.stats import FIELDS, Result, Stats

ROUNDS = st.lists(st.floats(1e-9, 10.0), min_size=1, max_size=60)


def test_figures_by_hand() -> None:
    """Seven rounds, one far out: each figure as worked out on paper."""
    stats = Stats([2.0, 1.0, 3.0, 4.0, 5.0, 6.0, 35.0])
    assert (stats.min, stats.max, stats.mean, stats.median, stats.rounds) == (1.0, 35.0, 8.0, 4.0, 7)
    assert (stats.q1, stats.q3, stats.iqr) == (2.25, 5.75, 3.5)  # ranks 2.25 and 5.75 of 1, 2, 3, 4, 5, 6, 35
    assert (stats.ld15iqr, stats.hd15iqr, stats.iqr_outliers) == (1.0, 6.0, 1)
    assert stats.stddev == pytest.approx(statistics.stdev(stats.data))
    assert (stats.stddev_outliers, stats.outliers) == (1, "1;1")
    assert (stats.total, stats.ops) == (56.0, 0.125)


def test_one_round_has_every_figure() -> None:
    """A pedantic case of one round is exported too: nothing divides by zero."""
    stats = Stats([2.0])
    assert stats.as_dict() == {
        **dict.fromkeys(("min", "max", "mean", "median", "q1", "q3", "ld15iqr", "hd15iqr", "total"), 2.0),
        **dict.fromkeys(("stddev", "iqr"), 0.0),
        **dict.fromkeys(("iqr_outliers", "stddev_outliers"), 0),
        "rounds": 1,
        "outliers": "0;0",
        "ops": 0.5,
    }
    assert Stats([0.0]).ops == 0.0


@given(ROUNDS)
def test_quartiles_of_an_even_number_are_medians_of_the_halves(data: list[float]) -> None:
    """The definition that pytest-benchmark uses there; ours is one formula for all sizes."""
    data = sorted(data * 2)
    half = len(data) // 2
    assert Stats(data).q1 == pytest.approx(statistics.median(data[:half]))
    assert Stats(data).q3 == pytest.approx(statistics.median(data[half:]))


@given(ROUNDS)
def test_figures_are_in_order(data: list[float]) -> None:
    """Whatever the rounds: extremes, quartiles and median do not cross, and the fences hold some round."""
    stats = Stats(data)
    tiny = 1e-12
    assert stats.min <= stats.q1 * (1 + tiny) <= stats.median * (1 + 2 * tiny)
    assert stats.median <= stats.q3 * (1 + tiny) <= stats.max * (1 + 2 * tiny)
    assert {stats.ld15iqr, stats.hd15iqr} <= set(data)
    assert set(stats.as_dict()) == set(FIELDS)


def test_a_result_is_read_like_a_map_and_like_an_object() -> None:
    """`stats["mean"]`, `stats.stats.mean`, and one entry of the JSON, nested or flat."""
    result = Result("t", "f.py::t", "g", None, None, {"k": 1}, 5, {"timer": "x"}, Stats([1.0, 3.0]))
    assert result["mean"] == result.stats.mean == result.get("mean") == 2.0
    assert (result["name"], result["iterations"], result["data"]) == ("t", 5, [1.0, 3.0])
    assert result.get("nothing", 7) == 7
    with pytest.raises(KeyError):
        result["nothing"]
    nested = result.as_dict()
    assert nested["stats"]["data"] == [1.0, 3.0]
    assert nested["stats"]["iterations"] == 5
    assert (nested["group"], nested["extra_info"], nested["options"]) == ("g", {"k": 1}, {"timer": "x"})
    assert "data" not in result.as_dict(include_data=False, flat=True)
    assert "stats" not in result.as_dict(stats=False)
