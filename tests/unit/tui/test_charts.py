"""Points kept within a bound, and charts made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perfguard_tui.draw.chart import Axes, Curve, Look, decimated, draw_chart, raster
from perfguard_tui.draw.distribution import draw_ecdf, draw_histogram
from perfguard_tui.lines import plain, width_of
from perfguard_tui.points import MOST, Points, limit_for
from perfguard_tui.trend import change_points

_FLOATS = st.floats(-1e9, 1e9, allow_nan=False)


def test_points_are_bounded_and_keep_every_outlier() -> None:
    """A hundred thousand come, at most the limit stay, in order, the three largest and smallest among them."""
    values = np.random.default_rng(1).normal(1.0, 0.1, 100_000)
    values[[17, 40_000, 99_999]] = [9.0, 8.0, 7.0]
    values[[5, 60_000]] = [-9.0, -8.0]
    points = Points()
    for i, value in enumerate(values):
        points.add(i / 1000, i, value, MOST)
    t_s, index, kept = points.arrays()
    assert points.n == 100_000
    assert MOST // 4 < len(kept) <= MOST + 2
    assert np.histogram(index, 10, (0, 100_000))[0].min() > MOST // 40  # no part of the run is thinned more
    assert {9.0, 8.0, 7.0, -9.0, -8.0} <= set(kept)
    assert (np.diff(index) > 0).all()
    assert (np.abs(values[index.astype(int)] - kept) == 0).all()
    assert np.allclose(t_s, index / 1000)


def test_many_series_share_one_bound() -> None:
    """A run of thousands of series keeps fewer points of each."""
    assert limit_for(1) == MOST
    assert limit_for(5000) * 5000 <= 20_000 * 64


@given(arrays(np.float64, st.integers(1, 3000), elements=_FLOATS), st.integers(1, 60))
def test_decimation_keeps_the_ends_of_every_column(y: np.ndarray, columns: int) -> None:
    """Smallest and largest of all are drawn, whatever the count; never more than four points a column."""
    x = np.arange(len(y), dtype=np.float64)
    axes = Axes(0.0, max(1.0, x[-1]), -1e10, 1e10)
    kept_x, kept_y = decimated(x, y, axes, columns)
    assert len(kept_x) <= max(4 * columns, 2)
    assert (kept_y.min(), kept_y.max()) == (y.min(), y.max())


def test_a_dot_is_where_it_belongs() -> None:
    """Bottom left and top right of two cells."""
    axes = Axes(0.0, 1.0, 0.0, 1.0)
    cells = raster(np.array([0.0, 1.0]), np.array([0.0, 1.0]), axes, 2, 1)
    assert [chr(0x2800 + int(bits)) for bits in cells[0]] == ["⡀", "⠈"]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("width", [24, 80, 200])
@pytest.mark.parametrize(
    "values",
    [[1.0], [1.0, 1.0], [0.0, 0.0], [1e-9, 1e9], [-1.0, 2.0], [math.nan, math.inf], [5.0] * 5000, list(range(3000))],
)
def test_a_chart_of_anything_fits_its_width(values: list[float], width: int, log: bool) -> None:
    """Constant, tiny, huge, negative, not finite: never an exception, never too wide."""
    y = np.array(values)
    curves = [Curve(np.arange(len(y), dtype=np.float64), y)]
    for line in draw_chart(curves, width, 10, Look("t", log=log, band=(0.9, 1.1), level=1.0)):
        assert width_of(line) <= width


def test_a_histogram_counts_every_sample_once() -> None:
    """The figures at the bars sum to n; the baseline's medians are marked."""
    now = np.random.default_rng(3).normal(1.0, 0.1, 500)
    lines = plain(draw_histogram(now, np.empty(0), 80, 16, unit="s", kind="time", medians=(0.9, 1.1))).splitlines()
    counts = [int(word) for line in lines[1:] for word in line.split("│")[1].split() if word.isdigit()]
    assert sum(counts) == 500
    assert sum(line.count("◆") for line in lines[1:]) == 2
    assert "all 3 samples" in plain(draw_histogram(np.ones(3), np.empty(0), 80, 16, unit="s", kind="time"))


def test_an_ecdf_needs_two_different_samples() -> None:
    """Else there is no curve to draw."""
    assert draw_ecdf(np.ones(5), np.empty(0), 80, 10, unit="s", kind="time") == []
    text = plain(draw_ecdf(np.arange(9.0), np.arange(9.0) + 3, 80, 10, unit="s", kind="time"))
    assert "green: before" in text


def test_change_points_are_found_and_not_invented() -> None:
    """A step is found where it is; steady noise has a false one in a twentieth of series."""
    rng = np.random.default_rng(5)
    stepped = np.concatenate([rng.normal(1.0, 0.01, 12), rng.normal(1.2, 0.01, 10)])
    assert change_points(stepped) == (12,)
    assert sum(bool(change_points(rng.normal(1.0, 0.05, 20))) for _ in range(40)) <= 5
    assert change_points(np.array([1.0, 2.0, 1.0])) == ()
    assert change_points(np.ones(30)) == ()
