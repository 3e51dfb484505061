"""Evidence against "nothing changed" that assumes nothing about the noise: betting on signs.

Under no change both processes of a restart run the same code, and a fair coin decided which was started and timed
first; so the difference d = log(B) - log(A) is as likely as -d, whatever its distribution: heavy-tailed, bimodal,
drifting from restart to restart. Given all |d|, the signs are fair coins. Whoever bets on "+" with money that may
depend on |d| and on the past, but not on the sign to come, wins nothing on average; the chance that the wealth *ever*
reaches x times the stake is at most 1/x (Ville 1939), so looking after each restart costs no error.

Sources: Fisher 1935, The Design of Experiments, section 21 (randomisation of signs); Efron 1969, Student's t-test
under symmetry conditions, JASA 64; Ramdas, Ruf, Larsson & Koolen 2020, Admissible anytime-valid sequential
inference must rely on nonnegative martingales (arXiv:2009.03167), section on symmetry; Waudby-Smith & Ramdas 2024,
Estimating means of bounded random variables by betting, JRSS B 86 (mixtures of stakes).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from perfguard.stats.quantiles import Array

# Three gamblers with a third of the money each. Against normal noise the best stake is tanh(mu |d| / sigma^2):
# in units of the usual |d|, the first suits changes of about 0.8 sigma, the second of 1.4 sigma; the third bets on
# signs alone, as is best for changes far beyond the noise.
STAKES = (0.7, 2.0, 9.0)
# No gambler risks all: one restart against the change costs a factor of 10, not the game. That costs one restart more
# where nothing disturbs, and saves ten where one process in eight runs at another speed.
MOST_STAKE = 0.9
# A restart further out than this many times the usual |d| is more likely an outlier than strong evidence.
KNEE = 2.0


def log_wealth(differences: npt.ArrayLike, within_se: npt.ArrayLike | None = None) -> Array:
    """The log of the wealth after each restart of one who starts with 1 and bets that the differences are positive.

    `differences`: shape (..., r), in the order of the restarts; the result has the same shape. The scale is the running
    median of |d|, this restart's included: known before the coin (the sign) is looked at. `within_se`, of the same
    shape and not changed by swapping sides: a restart whose own standard error exceeds that scale gets a smaller stake,
    as its variance asks for; on busy machines these are the restarts that point anywhere.
    Raises ValueError on figures that are not finite.
    """
    d = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(d).all():
        raise ValueError("differences are not finite")
    magnitude = np.abs(d)
    usual = np.empty_like(magnitude)
    for i in range(d.shape[-1]):
        usual[..., i] = np.median(magnitude[..., : i + 1], axis=-1)
    usual = np.maximum(usual, 1e-300)
    size = magnitude / usual
    size *= (KNEE / np.maximum(size, KNEE)) ** 4
    if within_se is not None:
        size *= np.minimum(1.0, usual / np.maximum(np.asarray(within_se, dtype=np.float64), 1e-300)) ** 2
    stakes = np.minimum(np.tanh(np.multiply.outer(np.array(STAKES), size)), MOST_STAKE)
    paths = np.cumsum(np.log1p(np.sign(d) * stakes), axis=-1)
    best = paths.max(axis=0)
    return np.asarray(best + np.log(np.exp(paths - best).mean(axis=0)))


def evidence(differences: npt.ArrayLike, within_se: npt.ArrayLike | None = None) -> Array:
    """The largest wealth up to each restart, shape (..., r): 1/evidence is a p-value at every one of them."""
    peak = np.maximum.accumulate(log_wealth(differences, within_se), axis=-1)
    return np.asarray(np.exp(np.minimum(np.maximum(peak, 0.0), 700.0)))


def fewest_restarts(threshold: float) -> int:
    """Fewer restarts than this cannot bring the wealth to `threshold`, even if all point one way."""
    return max(1, math.ceil(math.log(max(threshold, 1.0)) / math.log1p(MOST_STAKE)))
