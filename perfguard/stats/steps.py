"""Where the level of a series changed: steps, by a multi-scale scan that outliers and slow noise do not fool.

Made of known parts: windows of all lengths and places (seeded binary segmentation: Kovács, Bühlmann, Li and Munk 2023,
Biometrika 110), of which the shortest that shows a step wins (narrowest over threshold: Baranowski, Chen and Fryzlewicz
2019, JRSS B 81), and noise that is told from differences, which steps do not disturb, with its correlation from run to
run (Chakar, Lebarbier, Lévy-Leduc and Robin 2017, Bernoulli 23). All of it is array arithmetic: about a millisecond for
a thousand points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import chdtr, chdtri, stdtr, stdtrit

Array = npt.NDArray[np.float64]

SHORTEST = 3  # points on either side of a step: two that stray together are no new level
FEWEST = 2 * SHORTEST
CLIP = 3.0  # a point counts as at most so many sigma away from the median of its neighbourhood
NEIGHBOURS = 7
# How many independent looks a point of the scan is worth: fitted to series without a step (docs/history.md).
LOOKS = 0.2
INTERVAL = 0.95
LOCATION = 0.99
PRIOR_POINTS = 20.0  # how many points the whole series' noise is worth where a window has noise of its own
DEGREES_PER_POINT = 0.4  # what an estimate of noise from differences is worth, beside one that knows the levels
STEPS_FORGIVEN = 2  # whose differences are kept out of the noise, and one more for each 200 points
_TINY = 1e-9
_LAGS = np.arange(1, 5)
_RHOS = np.linspace(-0.2, 0.95, 116)
_CURVES = 1 - _RHOS[None, :] ** _LAGS[:, None]
_MOST_RHO = 0.95


@dataclass(frozen=True, slots=True)
class Step:
    """A step between the points `at - 1` and `at` of a series.

    `size`: the new level minus the old one, [`low`, `high`] its 95 % interval. The step lies after the point `first`
    and not after the point `last`, at 99 %. `chance`: of such a step anywhere in a series of that length and noise
    without any. `before` and `after` are the levels.
    """

    at: int
    first: int
    last: int
    size: float
    low: float
    high: float
    chance: float
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a series: `sigma` of one point, `rho` the correlation from point to point."""

    sigma: float
    rho: float
    degrees: float


def find_steps(values: npt.ArrayLike, *, alpha: float = 0.01, smallest: float = 0.0) -> list[Step]:
    """The steps in `values`, shape (n,), in order; on the log scale sizes are log ratios.

    `alpha`: the chance of finding any in a series without one. Steps smaller than `smallest` are left out. Series of
    fewer than `FEWEST` points have none. Raises ValueError on values that are not finite.
    """
    y = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(y).all():
        raise ValueError("values must be finite")
    if y.size < FEWEST or np.ptp(y) == 0:
        return []
    noise = noise_of(y)
    x = _clipped(y, noise.sigma)
    scan = _Scan(x, noise)
    threshold = float(stdtrit(noise.degrees, 1 - alpha / (2 * LOOKS * y.size)))
    places = _merged(scan, _weeded(scan, _narrowest(scan, threshold), threshold), threshold)
    if not places:
        return []
    steps = (_step(scan, left, at, right) for left, at, right in _between(places, y.size))
    return [step for step in steps if abs(step.size) >= smallest]


def noise_of(y: Array) -> Noise:
    """The noise of a series, shape (n,), n >= FEWEST, from the mean squares of differences k = 1 to 4 points apart.

    For noise that keeps the share rho from point to point these are 2 sigma^2 (1 - rho^k); rho is the best fit. The
    largest differences are left out, and none counts as more than 4 sigma, so that steps and outliers add little. Half
    a standard error is added to rho: taking slow noise for white is what makes false alarms.
    """
    squared = [(y[lag:] - y[:-lag]) ** 2 for lag in _LAGS]
    floor = (_TINY * max(1.0, float(np.abs(y).max()))) ** 2
    usual = max(1.4826**2 * float(np.median(squared[0])), float(np.quantile(squared[0], 0.9)) / 1.645**2, floor)
    usual = max(_mean_square(squared[0], _forgiven(y.size, 1), 12.25 * usual), floor)
    alike = _forgiven(y.size, int(_LAGS[-1]))  # from each lag as many, since only how they compare says what rho is
    squares = np.array(
        [
            _mean_square(square, alike, 16 * usual * reach)
            for square, reach in zip(squared, (1.0, 1.44, 1.69, 1.82), strict=True)
        ]
    )
    scale = squares @ _CURVES / (_CURVES**2).sum(axis=0)
    misfit = ((squares[:, None] - scale * _CURVES) ** 2).sum(axis=0)
    rho = min(max(float(_RHOS[misfit.argmin()]), 0.0) + 0.5 / math.sqrt(y.size), _MOST_RHO)
    sigma = math.sqrt(usual / (2 * (1 - rho)))
    return Noise(sigma, rho, max(2.0, DEGREES_PER_POINT * y.size))


def _forgiven(points: int, lag: int) -> int:
    """How many of the largest differences `lag` apart may be a step's: each step is in `lag` of them."""
    return min(lag * (STEPS_FORGIVEN + points // 200), points // 4)


def _mean_square(squares: Array, left_out: int, most: float) -> float:
    """The mean of squared differences of normal noise, told without the `left_out` largest ones.

    For normal noise the mean of the rest is smaller by a known factor. None counts as more than `most`.
    """
    kept = np.sort(squares)[: squares.size - left_out]
    share = kept.size / squares.size
    factor = float(chdtr(3, chdtri(1, 1 - share))) / share if left_out else 1.0
    return float(np.minimum(kept, most).mean()) / factor


def _clipped(y: Array, sigma: float) -> Array:
    """The series with what strays from its neighbours pulled in: a lone outlier is no level."""
    half = NEIGHBOURS // 2
    padded = np.concatenate([np.full(half, np.nan), y, np.full(half, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURS)
    middle = np.empty_like(y)
    middle[half:-half] = np.median(windows[half:-half], axis=1)
    for edge in (*range(half), *range(y.size - half, y.size)):
        middle[edge] = np.median(y[max(0, edge - half) : edge + half + 1])
    return np.clip(y, middle - CLIP * sigma, middle + CLIP * sigma)


class _Scan:
    """A series prepared so that any window's step is a few look-ups in running sums."""

    def __init__(self, x: Array, noise: Noise) -> None:
        self.points = x.size
        self.noise = noise
        centred = x - np.median(x)
        self.origin = float(np.median(x))
        self.sums = np.concatenate([[0.0], np.cumsum(centred)])
        squares = np.minimum(np.diff(centred) ** 2, 32 * noise.sigma**2 * (1 - noise.rho)) / (2 * (1 - noise.rho))
        self.squares = np.concatenate([[0.0, 0.0], np.cumsum(squares)])
        self.spread = _spread_of_means(x.size, noise.rho)

    def variance(self, start: npt.NDArray[np.intp], stop: npt.NDArray[np.intp]) -> Array:
        """The noise of one point in [start, stop), squared: the series', or their own where that is more."""
        own = self.squares[stop] - self.squares[start + 1]
        variance = (PRIOR_POINTS * self.noise.sigma**2 + own) / (PRIOR_POINTS - 1 + stop - start)
        return np.asarray(np.maximum(variance, self.noise.sigma**2))

    def differences(
        self, start: npt.NDArray[np.intp], at: npt.NDArray[np.intp], stop: npt.NDArray[np.intp]
    ) -> tuple[Array, Array]:
        """Mean of [at, stop) minus mean of [start, at), and its standard error; each side has its own noise."""
        left, right = at - start, stop - at
        sums, spread = self.sums, self.spread
        size = (sums[stop] - sums[at]) / right - (sums[at] - sums[start]) / left
        error = self.variance(start, at) * spread[left] + self.variance(at, stop) * spread[right]
        return np.asarray(size), np.asarray(np.sqrt(error))

    def windows(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
        """Of each window of the scan: start, stop, its most likely step, and how many standard errors that has."""
        found = []
        for length, starts in _layers(self.points):
            offsets = np.arange(SHORTEST, length - SHORTEST + 1)
            begin = starts[:, None]
            size, error = self.differences(begin, begin + offsets, begin + length)
            scores = np.abs(size) / error
            best = scores.argmax(axis=1)
            found.append((starts, starts + length, starts + offsets[best], scores[np.arange(starts.size), best]))
        begins, stops, places, scored = (np.concatenate(column) for column in zip(*found, strict=True))
        return begins, stops, places, scored

    def scores(self, start: int, stop: int) -> tuple[npt.NDArray[np.intp], Array]:
        """Each place of a step in [start, stop) with its score, signed; none if the window is too short."""
        at = np.arange(start + SHORTEST, stop - SHORTEST + 1)
        size, error = self.differences(np.array([start]), at, np.array([stop]))
        return at, size / error


def _spread_of_means(points: int, rho: float) -> Array:
    """The variance of the mean of 1, 2, ... points of noise with sigma 1 and correlation rho; [0] is of none."""
    count = np.arange(1, points + 1, dtype=np.float64)
    inflation = (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**count) / (count * (1 - rho) ** 2)
    return np.concatenate([[np.inf], inflation / count])


@lru_cache(maxsize=64)
def _layers(points: int) -> tuple[tuple[int, npt.NDArray[np.intp]], ...]:
    """Windows over a series: lengths that double, each overlapping half of the next, and one that ends at the end."""
    layers = []
    length = FEWEST
    while length < points:
        starts = np.arange(0, points - length + 1, length // 2)
        layers.append((length, np.union1d(starts, points - length)))
        length *= 2
    return (*layers, (points, np.array([0])))


def _narrowest(scan: _Scan, threshold: float) -> list[int]:
    """Places of steps: the shortest window over the threshold first, then none that holds a place already found."""
    start, stop, at, score = scan.windows()
    over = score > threshold
    start, stop, at, score = start[over], stop[over], at[over], score[over]
    order = np.lexsort((-score, stop - start))
    places: list[int] = []
    while order.size:
        place = int(at[order[0]])
        places.append(place)
        order = order[(start[order] >= place) | (stop[order] <= place)]
    return sorted(places)


def _weeded(scan: _Scan, places: list[int], threshold: float) -> list[int]:
    """Each place moved to where its step is likeliest between its neighbours; the weakest dropped while it is weak."""
    for _ in range(4 * len(places)):
        if not places:
            break
        moved: list[int] = []
        scores: list[float] = []
        for place, stop in zip(places, [*places[1:], scan.points], strict=True):
            start = moved[-1] if moved else 0
            at, score = scan.scores(start, stop)
            best = int(np.abs(score).argmax()) if at.size else 0
            moved.append(int(at[best]) if at.size else place)
            scores.append(float(abs(score[best])) if at.size else 0.0)
        if scores and min(scores) < threshold:
            del moved[scores.index(min(scores))]
        elif moved == places:
            break
        places = moved
    return places


def _merged(scan: _Scan, places: list[int], threshold: float) -> list[int]:
    """Two steps become one where one between them leaves nothing over the threshold on either side.

    The shortest windows have but one place for a step: on either side of a large one that they hold off their middle,
    two of them can show halves of it, which then keep each other from its place.
    """
    at = 0
    while at + 1 < len(places):
        start = places[at - 1] if at else 0
        stop = places[at + 2] if at + 2 < len(places) else scan.points
        candidates, scores = scan.scores(start, stop)
        place = int(candidates[np.abs(scores).argmax()])
        rest = [np.abs(scan.scores(*side)[1]) for side in ((start, place), (place, stop))]
        if places[at] <= place <= places[at + 1] and all(not side.size or side.max() < threshold for side in rest):
            places = [*places[:at], place, *places[at + 2 :]]
            at = max(0, at - 1)
        else:
            at += 1
    return places


def _between(places: list[int], points: int) -> list[tuple[int, int, int]]:
    """Each place with the ones before and after it, or the ends."""
    return list(zip([0, *places[:-1]], places, [*places[1:], points], strict=True))


def _step(scan: _Scan, left: int, at: int, right: int) -> Step:
    """What is known of the step at a place between its neighbours."""
    noise = scan.noise
    difference, error = scan.differences(np.array([left]), np.array([at]), np.array([right]))
    size, se = float(difference[0]), float(error[0])
    half = float(stdtrit(noise.degrees, 0.5 + INTERVAL / 2)) * se
    chance = min(1.0, 2 * LOOKS * scan.points * float(stdtr(noise.degrees, -abs(size) / se)))
    first, last = _range(scan, left, at, right)
    before = scan.origin + float(scan.sums[at] - scan.sums[left]) / (at - left)
    return Step(at, first, last, size, size - half, size + half, chance, before, before + size)


def _range(scan: _Scan, left: int, at: int, right: int) -> tuple[int, int]:
    """The points between which the step lies at LOCATION: those places that the likelihood does not rule out."""
    places, scores = scan.scores(left, right)
    if not places.size:
        return at - 1, at
    weights = np.exp((scores**2 - float((scores**2).max())) / 2)
    order = np.argsort(-weights)
    enough = int(np.searchsorted(np.cumsum(weights[order]), LOCATION * weights.sum())) + 1
    likely = places[order[:enough]]
    return int(min(likely.min(), at)) - 1, int(max(likely.max(), at))
