"""An interval of a change that may be looked at after each restart: how large is it, and what is excluded.

This is what `same` and the displayed interval rest on. It needs a model (noise of unknown spread, normal but for
outliers, moderated by what all cases of the run show), which alarms must not: those rest on `perfguard.stats.betting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfguard.stats.change import Prior
from perfguard.stats.prior import learn_prior
from perfguard.stats.quantiles import Array

# Differences between the sides of a restart, before any was seen.
DUET_PRIOR = Prior(sd=0.02, degrees=2.0)
# A case may be noisier than its neighbours: with the fifth restart its own spread outweighs theirs. Twice this would
# narrow the first intervals by a twentieth, and those of a case twice as noisy as its neighbours would miss more often.
MOST_DEGREES = 4.0
# Prior variance of the change in units of the noise's: makes the interval narrowest after some five restarts.
SPREAD = 4.0
# Restarts further than this from the median, in robust standard deviations, are moved there. A process that ran at
# half speed throughout (another core, another frequency) is seen on busy machines, and is no news of the code.
CLIP = 3.0
NORMAL_QUARTILE = 1.1503  # of |z|


@dataclass(frozen=True, slots=True)
class ConfidenceSequence:
    """After each restart, shape (..., r): `estimate`, `low`, `high`, and the `sd` of one restart's difference."""

    estimate: Array
    low: Array
    high: Array
    sd: Array


def confidence_sequence(
    differences: npt.ArrayLike,
    within_se: npt.ArrayLike | None = None,
    *,
    prior: Prior = DUET_PRIOR,
    confidence: float = 0.95,
) -> ConfidenceSequence:
    """Intervals of the centre of `differences`, shape (..., r), that hold at all restarts together.

    The chance that any of the r intervals misses the centre is at most 1 - confidence, if the noise is normal and its
    variance comes from `prior` (a scaled inverse chi-square). A centre m is excluded once the Bayes factor of
    N(m, g sigma^2), g = SPREAD, against m reaches 1 / (1 - confidence); both marginal likelihoods are Student's:

        (1 + n g)^(-1/2) [(Q + D) / (Q + D / (1 + n g))]^((d0 + n) / 2),  D = n (mean - m)^2,
        Q = d0 s0^2 + sum of squares around the mean.

    Lai 1976, On confidence sequences, Annals of Statistics 4; Wang & Ramdas 2023, Anytime-valid t-tests and confidence
    sequences for Gaussian means with unknown variance (arXiv:2310.03722), for d0 = 0; the prior as in Smyth 2004.
    Outliers are clipped first (Huber & Ronchetti, Robust Statistics, 2nd ed., section 1.7), so that the interval also
    serves heavy tails, and a restart whose own standard error `within_se` (same shape) exceeds the usual deviation is
    weighted by the inverse of its variance; tests/quality shows how well that does. While the restarts are too few
    the interval is infinite. Raises ValueError on figures that are not finite.
    """
    d = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(d).all():
        raise ValueError("differences are not finite")
    se = np.zeros_like(d) if within_se is None else np.asarray(within_se, dtype=np.float64)
    mean, squares, weights = np.empty_like(d), np.empty_like(d), np.empty_like(d)
    for i in range(d.shape[-1]):
        kept, usual = _tamed(d[..., : i + 1], prior)
        weight = np.minimum(1.0, usual / np.maximum(se[..., : i + 1], 1e-300)) ** 2
        weights[..., i] = weight.sum(axis=-1)
        mean[..., i] = (weight * kept).sum(axis=-1) / weights[..., i]
        squares[..., i] = (weight * (kept - mean[..., i, None]) ** 2).sum(axis=-1)
    q = prior.degrees * prior.sd**2 + squares
    degrees = prior.degrees + np.arange(1, d.shape[-1] + 1)
    mixed = 1 + weights * SPREAD
    k = (np.sqrt(mixed) / (1 - confidence)) ** (2 / degrees)
    room = np.where(k < mixed, 1 - k / mixed, 1.0)
    half = np.where(k < mixed, np.sqrt(q * (k - 1) / (room * weights)), np.inf)
    return ConfidenceSequence(mean, mean - half, mean + half, np.sqrt(q / (degrees - 1)))


def _tamed(d: Array, prior: Prior) -> tuple[Array, Array]:
    """The differences, shape (..., r), with those beyond CLIP deviations from the median moved to there; the deviation.

    It is the upper quartile of the absolute deviations, shape (..., 1), as if normal, moderated by the prior. The
    median of them would be zero for noise of two modes, whose rarer one would then be clipped away as outliers.
    """
    centre = np.median(d, axis=-1, keepdims=True)
    spread = np.quantile(np.abs(d - centre), 0.75, axis=-1, keepdims=True) / NORMAL_QUARTILE
    n = d.shape[-1]
    usual = np.sqrt((prior.degrees * prior.sd**2 + n * spread**2) / (prior.degrees + n))
    return np.clip(d, centre - CLIP * usual, centre + CLIP * usual), usual


def learn_duet_prior(groups: Sequence[npt.ArrayLike], fallback: Prior = DUET_PRIOR) -> Prior:
    """The noise of one restart's difference that is usual in this run, from all its cases.

    Each group: shape (r,), the differences of one case so far. As `learn_prior` (Smyth 2004) on clipped differences;
    these are ten times quieter than stored runs, so they are given in tenths. Worth `MOST_DEGREES` at most.
    """
    kept = (_tamed(np.asarray(group, dtype=np.float64), fallback)[0] for group in groups)
    tenths = [np.exp(np.clip(10 * group, -300, 300)) for group in kept]
    prior = learn_prior(tenths, Prior(10 * fallback.sd, fallback.degrees))
    return Prior(prior.sd / 10, min(prior.degrees, MOST_DEGREES))
