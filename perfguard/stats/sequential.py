"""What a duet decides for one case after each process restart: slower, faster, same, or go on.

Three questions, each with its own error:

* Did it change at all? By bets on signs, which need no model of the noise (`perfguard.stats.betting`): the chance that
  a run without any change calls anything slower is at most `alpha`, over all its gated metrics and however often one
  looks, if nothing but a fair coin tells the two sides apart.
* Does it matter? A change counts unless one as large as the limit is excluded (`perfguard.stats.sequence`). Asking
  instead that the interval lies wholly beyond the limit would never find a change as large as the limit itself.
* Is it the same? Only if changes of the limit or more are excluded, and if the run could have found one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from perfguard.stats.betting import evidence, fewest_restarts
from perfguard.stats.change import Prior
from perfguard.stats.quantiles import Array
from perfguard.stats.sequence import DUET_PRIOR, confidence_sequence

DuetVerdict = Literal["slower", "faster", "same", "undecided"]

DETECTION = 0.95
_SIMULATED_RUNS = 400
_LARGEST_EFFECT = 64.0


@dataclass(frozen=True, slots=True)
class DuetPlan:
    """What a run has set itself before it measures; the guarantees hold for numbers that were fixed in advance.

    `alpha`: the chance that a run without change calls any metric slower (and the same for faster). `tests`: how many
    gated metrics the run has. `limit`: the practical limit, 0.03 for 3 %. `confidence`: of the interval; a change of
    the limit is called same with at most half of 1 - confidence. `max_restarts`: what the budget affords; going on
    beyond it inflates no error, it only makes `detectable` too large. Raises ValueError on what is no plan.
    """

    alpha: float = 0.01
    tests: int = 1
    limit: float = 0.03
    confidence: float = 0.95
    min_restarts: int = 5
    max_restarts: int = 30

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 < self.confidence < 1 and self.tests >= 1 and self.limit > 0):
            raise ValueError("alpha and confidence lie between 0 and 1, tests is at least 1, the limit positive")
        if not 2 <= self.min_restarts <= self.max_restarts:
            raise ValueError("restarts: 2 <= min_restarts <= max_restarts")

    @property
    def threshold(self) -> float:
        """The evidence an alarm needs: tests / alpha (Bonferroni: Ville's bound alpha / tests for each metric)."""
        return self.tests / self.alpha

    @property
    def fewest_restarts(self) -> int:
        """An alarm needs at least so many restarts, mostly one more: fewer fair coins fall on one side too often."""
        return fewest_restarts(self.threshold)


@dataclass(frozen=True, slots=True)
class DuetDecision:
    """The state of one case after its restarts so far.

    `ratio`, `low`, `high`: B's time over A's and its confidence sequence. `evidence`: for the direction that `ratio`
    points to, the largest wealth so far; `p` = 1 / evidence is a p-value at any time, before correction for the number
    of tests. `sd`: of one restart's log ratio. `detectable`: the smallest slowdown, 0.021 for 2.1 %, that this plan
    tells from no change in 95 % of runs at this noise; infinite if `max_restarts` are too few for any alarm.
    """

    verdict: DuetVerdict
    ratio: float
    low: float
    high: float
    evidence: float
    sd: float
    detectable: float
    restarts: int

    @property
    def p(self) -> float:
        """An anytime-valid one-sided p-value of "nothing changed"."""
        return 1 / self.evidence


@dataclass(frozen=True, slots=True)
class DuetPath:
    """All states on the way, arrays of shape (..., r).

    `estimate`, `low`, `high`, `sd` on the log scale, `detectable` as a ratio less one, the evidence for each direction,
    and `verdict` as str.
    """

    estimate: Array
    low: Array
    high: Array
    sd: Array
    detectable: Array
    evidence_slower: Array
    evidence_faster: Array
    verdict: npt.NDArray[np.str_]


def decide(
    log_ratios: npt.ArrayLike, within_se: npt.ArrayLike | None, plan: DuetPlan, prior: Prior = DUET_PRIOR
) -> DuetDecision:
    """The decision on one case after r >= 1 restarts.

    `log_ratios`: shape (r,), log(B / A) of each restart in their order, positive where B takes longer (for a metric
    where higher is better: log(A / B)). For fractions, log1p of their difference. `within_se`: shape (r,), each
    restart's own standard error from its blocks (`combine_blocks`), or None. `prior`: this run's usual noise, from
    `learn_duet_prior`. Deterministic; may be asked after each restart. Raises ValueError on an empty array or
    figures that are not finite.
    """
    d = np.asarray(log_ratios, dtype=np.float64)
    if d.ndim != 1 or d.size == 0:
        raise ValueError("one log ratio per restart, and at least one")
    path = decide_along(d, within_se, plan, prior)
    bets = path.evidence_slower if path.estimate[-1] >= 0 else path.evidence_faster
    verdict: DuetVerdict = path.verdict[-1].item()
    return DuetDecision(
        verdict,
        ratio=_ratio(path.estimate[-1]),
        low=_ratio(path.low[-1]),
        high=_ratio(path.high[-1]),
        evidence=float(bets[-1]),
        sd=float(path.sd[-1]),
        detectable=float(path.detectable[-1]),
        restarts=d.size,
    )


def decide_along(
    log_ratios: npt.ArrayLike, within_se: npt.ArrayLike | None, plan: DuetPlan, prior: Prior = DUET_PRIOR
) -> DuetPath:
    """The state after each restart, for any number of cases at once: `log_ratios`, `within_se` of shape (..., r)."""
    d = np.asarray(log_ratios, dtype=np.float64)
    limit = math.log1p(plan.limit)
    sequence = confidence_sequence(d, within_se, prior=prior, confidence=plan.confidence)
    up, down = evidence(d, within_se), evidence(-d, within_se)
    with np.errstate(over="ignore"):
        detectable = np.asarray(np.expm1(sequence.sd * _standard_effect(plan)))
    low, high = sequence.low, sequence.high
    enough = np.arange(1, d.shape[-1] + 1) >= plan.min_restarts
    verdict = np.full(d.shape, "undecided")
    verdict[enough & (low > -limit) & (high < limit) & (detectable <= plan.limit)] = "same"
    verdict[(up >= plan.threshold) & (low > 0) & (high >= limit)] = "slower"
    verdict[(down >= plan.threshold) & (high < 0) & (low <= -limit)] = "faster"
    return DuetPath(sequence.estimate, low, high, sequence.sd, detectable, up, down, verdict)


def smallest_detectable(sd: float, plan: DuetPlan) -> float:
    """The slowdown (0.021 for 2.1 %) that is told from no change in 95 % of runs whose restarts differ by `sd`.

    `sd` >= 0, of one restart's log ratio; noise taken as normal. Infinite if `plan.max_restarts` allow no alarm.
    """
    effect = _standard_effect(plan)
    return math.inf if math.isinf(effect) else math.expm1(min(sd * effect, 700.0))


def compare_counts(a_counts: npt.ArrayLike, b_counts: npt.ArrayLike, plan: DuetPlan) -> DuetDecision:
    """The decision on exact figures (calls, bytes): shape (r,) each, one figure of either side per restart, >= 0.

    Where each side counts the same in every restart, one more is `slower` and one fewer `faster`, with certainty: no
    limit applies. Counts that vary are noise like any other and are decided on log((b + 1/2) / (a + 1/2)).
    Raises ValueError on different shapes, no restarts, or figures that are negative or not finite.
    """
    a, b = np.asarray(a_counts, dtype=np.float64).ravel(), np.asarray(b_counts, dtype=np.float64).ravel()
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"{a.size} counts of A, {b.size} of B")
    if not (np.isfinite(a) & np.isfinite(b) & (a >= 0) & (b >= 0)).all():
        raise ValueError("counts must be finite and not negative")
    if np.ptp(a) > 0 or np.ptp(b) > 0:
        return decide(np.log((b + 0.5) / (a + 0.5)), None, plan)
    before, now = float(a[0]), float(b[0])
    ratio = 1.0 if now == before else now / before if before > 0 else math.inf
    verdict: DuetVerdict = "same" if now == before else "slower" if now > before else "faster"
    return DuetDecision(verdict, ratio, ratio, ratio, math.inf, 0.0, 0.0, int(a.size))


def _standard_effect(plan: DuetPlan) -> float:
    """The change, in standard deviations of one restart, whose evidence crosses the threshold in 95 % of runs."""
    return _simulated_effect(plan.threshold, plan.max_restarts)


@lru_cache(maxsize=64)
def _simulated_effect(threshold: float, restarts: int) -> float:
    """By bisection on the same seeded normal runs for every effect: no formula is exact for so few restarts."""
    noise = np.random.default_rng(1).standard_normal((_SIMULATED_RUNS, restarts))

    def found(effect: float) -> bool:
        return bool((evidence(noise + effect)[:, -1] >= threshold).mean() >= DETECTION)

    if not found(_LARGEST_EFFECT):
        return math.inf
    low, high = 0.0, _LARGEST_EFFECT
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def _ratio(log: float) -> float:
    return math.exp(log) if log < 700 else math.inf
