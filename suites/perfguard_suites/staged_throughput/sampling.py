"""How a token is chosen from logits: greedily, or at random by temperature and the most likely share."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfguard_suites.staged_throughput.backend import Logits


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """`temperature` 0 is greedy; `top_p`: the smallest set of tokens with that probability; `stop`: texts that end it.

    `ignore_eos`: go on to `max_tokens` whatever the model says, for measurements.
    """

    max_tokens: int = 16
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


def greedy(logits: Logits) -> list[int]:
    """The likeliest token of each row, the first of equals."""
    tokens: list[int] = logits.argmax(1).tolist()
    return tokens


def draw(row: npt.NDArray[np.float32], parameters: SamplingParameters, rng: np.random.Generator) -> int:
    """One token of a row (vocabulary,) at random."""
    scaled = row.astype(np.float64) / parameters.temperature
    weights = np.exp(scaled - scaled.max())
    if parameters.top_p < 1.0:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= parameters.top_p * weights.sum()]] = 0.0
    total = weights.sum()
    if not np.isfinite(total):  # logits that are none: not this sequence's neighbours' fault
        return int(row.argmax())
    return int(rng.choice(len(weights), p=weights / total))


def sample(logits: Logits, parameters: Items[SamplingParameters], rngs: Items[np.random.Generator | None]) -> list[int]:
    """A token for each row of logits (sequences, vocabulary)."""
    tokens = greedy(logits)
    for index, (each, rng) in enumerate(zip(parameters, rngs, strict=True)):
        if each.temperature > 0 and rng is not None:
            tokens[index] = draw(logits[index], each, rng)
    return tokens
