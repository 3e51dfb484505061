"""Series whose change points are known: noise of several kinds, with nothing, a step, a drift, spikes or more noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

NOISE = 0.02
STEP = 1.05
NOISES = ("normal", "heavy", "skewed", "slow 0.3", "slow 0.6")
WITHIN = 5


def noise(kind: str, n: int, rng: np.random.Generator) -> Array:
    """Log noise of standard deviation NOISE, shape (n,).

    normal; heavy: Student's with 3 degrees of freedom; skewed: exponential, as waiting for others is; slow r: each
    point keeps the share r of the one before.
    """
    if kind == "heavy":
        return np.asarray(rng.standard_t(3, n) * NOISE / math.sqrt(3))
    if kind == "skewed":
        return np.asarray((rng.exponential(1, n) - 1) * NOISE)
    if kind == "normal":
        return rng.normal(0, NOISE, n)
    rho = float(kind.split()[1])
    drawn = rng.normal(0, NOISE * math.sqrt(1 - rho**2), n + 100)
    for index in range(1, n + 100):
        drawn[index] += rho * drawn[index - 1]
    return drawn[100:]


def levels(shape: str, n: int) -> tuple[Array, list[int]]:
    """Log levels, shape (n,), and where they change.

    "none", "step" in the middle, "late" (WITHIN points before the end), "drift" of 10 % over a fifth of the series,
    "spikes" of 50 % in every fiftieth point.
    """
    level = np.zeros(n)
    if shape == "step":
        level[n // 2 :] = math.log(STEP)
        return level, [n // 2]
    if shape == "late":
        level[n - WITHIN :] = math.log(STEP)
        return level, [n - WITHIN]
    if shape == "drift":
        level += math.log(1.1) * np.clip((np.arange(n) - 0.4 * n) / (0.2 * n), 0, 1)
        return level, [n // 2]
    if shape == "spikes":
        level[25::50] = math.log(1.5)
    return level, []


def series(shape: str, kind: str, n: int, rng: np.random.Generator) -> tuple[Array, list[int]]:
    """A series of times, shape (n,), around one second, and the places of its changes."""
    drawn = noise(kind, n, rng)
    if shape == "wider":  # the noise doubles in the middle, the level stays
        drawn[n // 2 :] *= 2
    level, places = levels(shape, n)
    return np.exp(level + drawn), places


def hits(found: Sequence[int], places: Sequence[int], within: int = WITHIN) -> int:
    """How many of the places have a change found near by."""
    return sum(any(abs(at - place) <= within for at in found) for place in places)


def described(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    lines += [f"| {' | '.join(str(row.get(column, '')) for column in columns)} |" for row in rows]
    return "\n".join(lines)
