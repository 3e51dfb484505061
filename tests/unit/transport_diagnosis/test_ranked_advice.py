"""Advice follows measured paired differences, and says when a difference is noise."""

from __future__ import annotations

import pytest

from perfguard_suites.transport.advice import Alternative, rank, shares

BASE = (0.770, 0.810, 0.760, 0.790, 0.800, 0.780)


def off(seconds, jitter=0.0):
    return tuple(b - seconds + jitter * (-1) ** i for i, b in enumerate(BASE))


def test_best_measured_saving_comes_first_and_noise_is_called_noise():
    """480 ms and 610 ms savings rank by size; 3 ms inside a ±5 interval is no advice; 40 ms more is a cost."""
    advice = rank(
        BASE,
        [
            Alternative("tcp", "switch to tcp", off(-0.040, 0.001)),
            Alternative("ipc", "switch to ipc", off(0.003, 0.005)),
            Alternative("multipart", "send multipart", off(0.480, 0.030)),
            Alternative("shm", "use shared memory", off(0.610, 0.025)),
        ],
    )
    assert [(a.name, a.effect) for a in advice] == [
        ("shm", "saves"),
        ("multipart", "saves"),
        ("ipc", "within noise"),
        ("tcp", "costs"),
    ]
    assert str(advice[1]) == "send multipart: saves 480 ± 30 ms of 785"
    assert str(advice[2]) == "switch to ipc: within noise (3.0 ± 5.0 ms)"
    assert advice[0].rounds == 6


def test_drift_common_to_both_cancels():
    """A machine that slows threefold in the middle leaves the interval of a constant saving narrow."""
    drifting = (0.5, 0.5, 0.5, 1.5, 1.5, 1.5)
    (advice,) = rank(drifting, [Alternative("x", "do x", tuple(b - 0.1 for b in drifting))])
    assert advice.effect == "saves"
    assert advice.saving_s.high - advice.saving_s.low < 1e-9


def test_other_rounds_are_refused():
    """An alternative with another number of rounds was not measured in pairs."""
    with pytest.raises(ValueError, match="tcp: 2 rounds, the base has 6"):
        rank(BASE, [Alternative("tcp", "switch", (1.0, 2.0))])


def test_shares_are_of_the_wall_and_sorted():
    """Shares are of the wall time summed over rounds, the largest phase first."""
    found = shares({"wire": [0.1, 0.1], "copy": [0.6, 0.7]}, [1.0, 1.0])
    assert [(s.phase, s.share) for s in found] == [("copy", pytest.approx(0.65)), ("wire", pytest.approx(0.1))]
