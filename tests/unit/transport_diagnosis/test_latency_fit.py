"""The size-latency fit recovers known cost models and predicts a mix better than one echo's rate."""

from __future__ import annotations

import numpy as np
import pytest

from perfguard_suites.transport.latency_model import (
    MIB,
    SizePoint,
    echo_estimate_s,
    fit,
    fit_line,
    prediction_error,
)
from perfguard_suites.transport.mix import LLAMA_1B, predict

SIZES = (4096, 65536, 262144, MIB, 4 * MIB, 16 * MIB, 64 * MIB)


def sweep(cost):
    shapes = [(n, 0) for n in SIZES] + [(0, n) for n in SIZES] + [(n, n) for n in SIZES] + [(0, 0)]
    return [SizePoint(s, r, (cost(s, r),)) for s, r in shapes]


def straight(sent, received):
    return 50e-6 + sent / 2e9 + received / 1e9


def cliff(sent, received):
    """Five times the cost per byte beyond 4 MiB: fresh pages for every message."""

    def one_way(n):
        return n / 4e9 + max(0, n - 4 * MIB) / 1e9

    return 60e-6 + one_way(sent) + one_way(received)


def test_straight_line_costs_are_recovered():
    """A linear cost comes back as base, seconds per sent and per received byte."""
    model = fit_line(sweep(straight))
    assert model.base_s == pytest.approx(50e-6, rel=1e-3)
    assert model.sent_rise_s[0] / model.knots_bytes[-1] == pytest.approx(1 / 2e9, rel=1e-3)
    assert model.received_rise_s[0] / model.knots_bytes[-1] == pytest.approx(1 / 1e9, rel=1e-3)


def test_a_cliff_is_followed_where_a_line_fails():
    """With a cost cliff the chosen model has knots, predicts the mix within 3 %, and beats the line."""
    model, line = fit(sweep(cliff)), fit_line(sweep(cliff))
    calls = predict(LLAMA_1B, 512)
    sent, received = [c.sent_bytes for c in calls], [c.received_bytes for c in calls]
    truth = sum(cliff(s, r) for s, r in zip(sent, received, strict=True))
    assert model.name != "line"
    assert prediction_error(float(model.predict_s(sent, received).sum()), truth) < 0.03
    assert model.held_out_error < line.held_out_error


def test_the_10_mib_echo_misleads_where_the_fit_does_not():
    """With a cliff, one 10 MiB echo's rate is off by far more than the fit on the mix."""
    calls = predict(LLAMA_1B, 1024)
    truth = sum(cliff(c.sent_bytes, c.received_bytes) for c in calls)
    moved = sum(c.sent_bytes + c.received_bytes for c in calls)
    echo = echo_estimate_s(cliff(10 * MIB, 10 * MIB), 20 * MIB, moved)
    assert prediction_error(echo, truth) > 0.2


def test_predictions_never_fall_with_size():
    """Noise cannot make the model claim that a larger message is quicker."""
    rng = np.random.default_rng(7)
    noisy = sweep(lambda s, r: cliff(s, r) * rng.uniform(0.7, 1.3))
    model = fit(noisy)
    sizes = np.linspace(0, 200 * MIB, 500)
    for times in (model.predict_s(sizes, np.zeros(500)), model.predict_s(np.zeros(500), sizes)):
        assert (np.diff(times) >= 0).all()


def test_too_few_sizes_are_refused():
    """Three sizes cannot be fitted and held out."""
    with pytest.raises(ValueError, match="at least 4"):
        fit([SizePoint(n, 0, (1e-3,)) for n in (0, 10, 20)])
