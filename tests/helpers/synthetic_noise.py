"""Synthetic machines: block times of two sides of a duet, and of separate process runs, under named noises.

Three layers, as on real machines: the machine (autocorrelated drift and bursts that both sides of a pair mostly share),
the process (memory layout, placement: one figure for all that a process measures), and the block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Kind = Literal["normal", "t3", "bimodal", "skewed", "outliers", "position"]


@dataclass(frozen=True)
class Noise:
    """Log deviations of times.

    `process` is the shape of a process's own figure and `process_sd` its scale; `mood_sd` moves whole runs, `drift_sd`
    wanders within one; in a burst (share of time `busy`) blocks take 10 to 100 % longer.
    """

    process: Kind = "normal"
    process_sd: float = 0.01
    block_sd: float = 0.02
    mood_sd: float = 0.10
    drift_sd: float = 0.02
    busy: float = 0.0


NOISES = {
    "calm": Noise(process_sd=0.005, block_sd=0.01, mood_sd=0.02, drift_sd=0.005),
    "autocorrelated": Noise(drift_sd=0.08),
    "heavy-tailed": Noise(process="t3", process_sd=0.007, busy=0.1),
    "bimodal": Noise(process="bimodal", process_sd=0.015),
    "skewed": Noise(process="skewed", process_sd=0.012),
    "drifting": Noise(mood_sd=0.4, drift_sd=0.05),
    "neighbour": Noise(process="outliers", process_sd=0.01, mood_sd=0.2, drift_sd=0.05, busy=0.35),
    "position": Noise(process="position", process_sd=0.01),
}


def process_effects(rng: np.random.Generator, kind: Kind, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """What two fresh processes of the same code add to log time, in units of `process_sd`: A's and B's, of `shape`.

    Both are drawn alike, or which one is worse is a fair coin (`position`: the one started first has the better core).
    """
    if kind == "position":
        coin = rng.integers(0, 2, shape) * 2.0
        jitter = rng.normal(0, 0.1, (2, *shape))
        return coin + jitter[0], 2.0 - coin + jitter[1]
    both = (2, *shape)
    if kind == "t3":
        draws = rng.standard_t(3, both)
    elif kind == "bimodal":
        draws = 3.0 * (rng.random(both) < 0.3) + rng.normal(0, 0.2, both)
    elif kind == "skewed":
        draws = rng.exponential(1.0, both)
    elif kind == "outliers":
        draws = rng.normal(0, 1, both) + np.where(rng.random(both) < 0.05, rng.uniform(5, 50, both), 0.0)
    else:
        draws = rng.normal(0, 1, both)
    return draws[0], draws[1]


def duet_blocks(
    rng: np.random.Generator, noise: Noise, shape: tuple[int, ...], blocks: int, scale: Array | float = 1.0
) -> tuple[Array, Array]:
    """Seconds per block of A and of B, each of shape (*shape, blocks), with no change between them.

    `scale` (broadcast to `shape`) multiplies the process noise: cases differ. Block i of both sides are neighbours in
    time, in random order, so they share the drift and mostly the burst.
    """
    moments = _machine(rng, noise, shape, 2 * blocks).reshape(*shape, blocks, 2)
    b_first = rng.integers(0, 2, (*shape, blocks, 1))
    moments = np.where(b_first == 1, moments[..., ::-1], moments)
    effects = np.stack(process_effects(rng, noise.process, shape), axis=-1) * noise.process_sd
    effects *= np.asarray(scale)[..., None]
    logs = moments + effects[..., None, :] + rng.normal(0, noise.block_sd, moments.shape)
    times = 1e-3 * np.exp(logs)
    return times[..., 0], times[..., 1]


def run_samples(rng: np.random.Generator, noise: Noise, cases: int, samples: int, scale: Array | float = 1.0) -> Array:
    """Seconds per sample of one process run that measures `cases` in turn, shape (cases, samples).

    Two such runs are what stored samples compare: each has its own mood, drift and process effects.
    """
    effects, _ = process_effects(rng, noise.process, (cases,))
    mood = rng.normal(0, noise.mood_sd) + rng.normal(0, noise.mood_sd / 3, (cases, 1))
    logs = _machine(rng, noise, (cases,), samples) + mood + (effects * noise.process_sd * np.asarray(scale))[:, None]
    return np.asarray(1e-3 * np.exp(logs + rng.normal(0, noise.block_sd, logs.shape)))


def _machine(rng: np.random.Generator, noise: Noise, shape: tuple[int, ...], steps: int) -> Array:
    """Log deviation that the machine adds at each moment: an AR(1) drift, and bursts from a two-state chain."""
    drift = np.empty((*shape, steps))
    level, busy = rng.normal(0, noise.drift_sd, shape), rng.random(shape) < noise.busy
    strength = rng.uniform(np.log(1.1), np.log(2.0), shape)
    shocks = rng.normal(0, noise.drift_sd * np.sqrt(1 - 0.95**2), (steps, *shape))
    flips = rng.random((steps, *shape))
    for step in range(steps):
        level = 0.95 * level + shocks[step]
        busy = np.where(busy, flips[step] > 0.2, flips[step] < 0.2 * noise.busy / (1 - noise.busy))
        drift[..., step] = level + busy * strength
    return drift
