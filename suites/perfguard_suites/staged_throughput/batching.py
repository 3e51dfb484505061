"""What a batch gains, the scheduler at concurrency 8 against one sequence alone, and what it changes: tokens."""

from __future__ import annotations

from dataclasses import replace

from perfguard.ladder import Load
from perfguard_suites.staged_throughput.stages import Stages

BATCH = 8


def batch_gain(stages: Stages, load: Load, rounds: int) -> tuple[float, ...]:
    """Tokens per second of stage 5 at concurrency 8 over concurrency 1, in turn, of each round.

    A sequence alone is computed as fast as it can be: not filled up to the rows that give equal bits.
    """
    alone = replace(load, requests=1, concurrency=1)
    together = replace(load, requests=BATCH, concurrency=BATCH)
    gains = []
    for _ in range(rounds):
        batch = stages.run(5, together).run
        with stages.backend.unfilled():
            one = stages.run(5, alone).run
        gains.append((batch.tokens / batch.wall_s) / (one.tokens / one.wall_s))
    return tuple(gains)


def alike_alone(stages: Stages, load: Load) -> float:
    """The share of a load's sequences whose tokens, computed in static batches, are those of each one alone.

    Kernels for several rows add up in another order than those for one, and where the two likeliest tokens are close,
    the other one wins: from there on a sequence differs. 1 in a backend that is invariant.
    """
    together = stages.run(0, load).tokens
    alone = stages.run(0, replace(load, concurrency=1)).tokens
    return sum(tokens == alone[name] for name, tokens in together.items()) / len(together)
