"""Claims about change points on seeded series: false alarms, and how soon steps are found (more in docs/history.md)."""

from __future__ import annotations

import pytest
from change_methods import perfguard
from change_series import WITHIN, hits, series
from changes import seeded


@pytest.mark.parametrize("kind", ["normal", "heavy", "skewed", "slow 0.3"])
def test_fewer_than_one_false_alarm_in_a_thousand_points(kind: str) -> None:
    """In 20,000 points without a change, whatever their noise, at most 10 changes are found (0.5 per 1,000)."""
    rng = seeded("none", kind)
    assert sum(len(perfguard(series("none", kind, 500, rng)[0])) for _ in range(40)) <= 10


@pytest.mark.parametrize("kind", ["normal", "heavy", "skewed"])
def test_a_step_of_five_per_cent_in_noise_of_two_is_found_within_five_points(kind: str) -> None:
    """Five points after the step, and long after it, nine of ten are found, and where they are."""
    rng = seeded("steps", kind)
    for shape in ("late", "step"):
        found = 0
        for _ in range(100):
            times, places = series(shape, kind, 300, rng)
            found += hits(perfguard(times), places, WITHIN)
        assert found >= 90, shape


def test_spikes_and_more_noise_are_not_taken_for_changes() -> None:
    """Single runs half as slow again, and noise that doubles, raise less than one alarm in a thousand points."""
    for shape in ("spikes", "wider"):
        rng = seeded(shape)
        assert sum(len(perfguard(series(shape, "normal", 500, rng)[0])) for _ in range(20)) < 10, shape
