"""Claims about overlap: the five figures, their ceilings, the bounds from totals, and scopes that don't match."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.errors import MeasurementError
from perfguard.spans import overlap, overlap_bounds


def pipeline(layers: int, copy: int, compute: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A perfect two-stage pipeline with unlimited buffers: copies, computes, wall; all in nanoseconds."""
    copies = [(n * copy, (n + 1) * copy) for n in range(layers)]
    computes, free = [], 0
    for _, ready in copies:
        start = max(free, ready)
        free = start + compute
        computes.append((start, free))
    return np.array(copies), np.array(computes), free


@given(st.integers(1, 40), st.integers(1, 1000), st.integers(1, 1000))
def test_a_perfect_pipeline_reaches_its_ceilings(layers: int, copy: int, compute: int) -> None:
    """Filling costs min/N: pipeline efficiency is 1, interval overlap (N-1)/N, the saving that of N-1 layers."""
    copies, computes, wall = pipeline(layers, copy, compute)
    found = overlap(copies, computes, wall_s=wall / 1e9, layers=layers, serial_s=layers * (copy + compute) / 1e9)
    assert found.pipeline_efficiency == pytest.approx(1)
    assert found.overlapped_over_ideal == pytest.approx(1)
    assert found.overlap_efficiency == pytest.approx(found.overlap_ceiling)
    assert found.realised_saving == pytest.approx(found.overlap_ceiling)
    assert found.copy_hidden == pytest.approx((layers - 1) / layers * min(copy, compute) / copy)
    assert found.copy_hidden <= found.copy_hidden_ceiling


def test_one_after_the_other_overlaps_nothing() -> None:
    """Alternating copies and computes give 0 for each figure of overlap and (1 + 1/N)/2 of the ideal when balanced."""
    copies = np.array([(0, 1), (2, 3), (4, 5), (6, 7)]) * 10**6
    found = overlap(copies, copies + 10**6, wall_s=8e-3, layers=4, serial_s=8e-3)
    assert (found.overlap_efficiency, found.copy_hidden, found.realised_saving) == (0, 0, 0)
    assert found.pipeline_efficiency == pytest.approx((1 + 1 / 4) / 2)
    assert (found.utilisation, found.utilisation_with_copies) == (0.5, 1)


def test_contention_shows_as_stretch_while_intervals_overlap() -> None:
    """Where both slow each other down to twice their time, intervals overlap fully and nothing is saved."""
    found = overlap(
        [(0.0, 2.0)], [(0.0, 2.0)], wall_s=2.0, layers=1, serial_s=2.0, copy_alone_s=1.0, compute_alone_s=1.0
    )
    assert found.overlap_efficiency == 1
    assert found.realised_saving == 0
    assert found.copy_stretch == found.compute_stretch == 2


def test_streams_count_once() -> None:
    """Two copy streams at once are one stretch of copying, not twice its time."""
    found = overlap([(0, 10), (0, 10), (5, 15)], [(10, 20)], wall_s=20e-9, layers=2)
    assert found.copy_s == pytest.approx(15e-9)
    assert found.both_s == pytest.approx(5e-9)
    assert found.busy_s == pytest.approx(20e-9)


def test_without_copies_there_is_no_efficiency() -> None:
    """No copies, or no measured references: None, never a number."""
    found = overlap([], [(0.0, 1.0)], wall_s=2.0, layers=3)
    missing = (found.overlap_efficiency, found.copy_hidden, found.copy_hidden_ceiling, found.realised_saving)
    assert missing == (None, None, None, None)
    assert (found.copy_stretch, found.compute_stretch) == (None, None)
    assert found.utilisation == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"wall_s": 0.9},  # either total alone fits, together they don't
        {"wall_s": 0.0},
        {"wall_s": float("nan")},
        {"layers": 0},
        {"layers": True},
        {"serial_s": -1.0},
        {"copy_alone_s": 0.0},
        {"compute_alone_s": float("inf")},
    ],
)
def test_scopes_that_do_not_match_are_refused(wrong: dict[str, float]) -> None:
    """Busy time above the wall, and references that are no times, are errors that name the argument."""
    with pytest.raises(MeasurementError):
        overlap([(0.0, 0.5)], [(0.5, 1.0)], **{"wall_s": 1.0, "layers": 2, **wrong})  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=8),
)
def test_bounds_from_totals_hold_the_measured_overlap(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    """What intervals give lies within what totals allow, always."""
    copies, computes = ([(at, at + size) for at, size in some] for some in (first, second))
    found = overlap(copies, computes, wall_s=59e-9, layers=1)
    bounds = overlap_bounds(copy_s=found.copy_s, compute_s=found.compute_s, wall_s=found.wall_s)
    assert bounds.low_s - 1e-15 <= found.both_s <= bounds.high_s + 1e-15
    assert bounds.overlap_efficiency is not None
    assert bounds.overlap_efficiency[0] - 1e-6 <= (found.overlap_efficiency or 0) <= 1
    assert found.utilisation <= (bounds.utilisation_ceiling or 0)


def test_a_total_above_the_wall_is_another_scope() -> None:
    """The whole run's loads in a token's wall are refused, with the reason."""
    with pytest.raises(MeasurementError, match=r"copy_s: 0\.7763 s in a wall of 0\.6354 s: the scopes don't match"):
        overlap_bounds(copy_s=0.7763, compute_s=0.0608, wall_s=0.6354)
    assert overlap_bounds(copy_s=0, compute_s=0, wall_s=1).overlap_efficiency is None


def test_the_totals_of_a_report_give_bounds_and_no_figure() -> None:
    """64 tokens of 8 layers: its formula says -14 % and could say 19 % at best; its totals say 0 to 100 %."""
    loads, compute, run, tokens = 0.5659, 0.0608, 0.7763, 0.6354
    theirs = (loads + compute - (run - compute)) / (loads + compute)
    assert theirs == pytest.approx(-0.142, abs=5e-4)
    best = (loads + compute - (loads - compute)) / (loads + compute)
    assert best == pytest.approx(0.194, abs=5e-4)

    one_table = overlap_bounds(copy_s=loads, compute_s=compute, wall_s=tokens)
    assert (one_table.low_s, one_table.high_s, one_table.overlap_efficiency) == (0, compute, (0, 1))
    other_table = overlap_bounds(copy_s=loads, compute_s=0.205, wall_s=tokens)
    assert other_table.low_s == pytest.approx(0.1355)
    assert other_table.overlap_efficiency == pytest.approx((0.661, 1), abs=5e-4)

    kernels = overlap_bounds(copy_s=loads, compute_s=0.0186, wall_s=tokens)
    assert kernels.utilisation == pytest.approx(0.029, abs=5e-4)
    assert kernels.utilisation_ceiling == pytest.approx(0.033, abs=5e-4)
