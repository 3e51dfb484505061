"""Run-to-run noise learnt from all metrics at once.

With five stored runs of one metric its own spread is a poor estimate, but sixty metrics with five runs each
say well what noise is usual on this machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma

from perfguard.stats.change import Prior

FLOOR_SD = 0.01
MAX_DEGREES = 30.0
FEWEST_GROUPS = 8


def learn_prior(groups: Sequence[npt.ArrayLike], fallback: Prior) -> Prior:
    """The prior whose scaled inverse chi-square distribution fits the groups' variances of log figures.

    Each group: shape (k,), positive, the stored medians of one metric. Moments of log s^2 are matched
    (Smyth 2004, section 6.2); degrees are capped, since neither machine nor metrics are exchangeable to the end,
    and never fall below the fallback's. Under `FEWEST_GROUPS` groups of two runs or more teach nothing: `fallback`.
    """
    variances, degrees = [], []
    for group in groups:
        logs = np.log(np.asarray(group, dtype=np.float64).ravel())
        if logs.size >= 2 and np.isfinite(logs).all():
            variances.append(max(float(logs.var(ddof=1)), 1e-8))
            degrees.append(float(logs.size - 1))
    if len(variances) < FEWEST_GROUPS:
        return fallback
    d = np.array(degrees)
    e = np.log(np.array(variances)) - digamma(d / 2) + np.log(d / 2)
    centre = float(e.mean())
    excess = float(e.var(ddof=1) - polygamma(1, d / 2).mean())
    fitted = MAX_DEGREES if excess <= 0 else 2 * _inverse_trigamma(excess)
    prior_degrees = min(MAX_DEGREES, max(fallback.degrees, fitted))
    log_variance = centre + float(digamma(prior_degrees / 2)) - math.log(prior_degrees / 2)
    return Prior(sd=max(FLOOR_SD, math.exp(log_variance / 2)), degrees=prior_degrees)


def _inverse_trigamma(y: float) -> float:
    """The x with trigamma(x) = y, by Newton's method on 1/trigamma (Smyth 2004, appendix)."""
    if y > 1e7:
        return 1 / math.sqrt(y)
    x = 0.5 + 1 / y
    for _ in range(50):
        tri = float(polygamma(1, x))
        step = tri * (1 - tri / y) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x
