"""Backends that tests of the serving stack run: the tiny model, and one whose forward passes fail on demand."""

from __future__ import annotations

import functools

from perfguard_suites.split_rpc.weights import Weights
from perfguard_suites.staged_throughput.backend import Batch, Logits
from perfguard_suites.staged_throughput.config import config_of
from perfguard_suites.staged_throughput.errors import BackendError
from perfguard_suites.staged_throughput.torch_backend import TorchBackend
from perfguard_suites.staged_throughput.weights import qwen3_weights


@functools.cache
def tiny_weights() -> Weights:
    """The tiny model's weights."""
    return qwen3_weights(config_of("tiny"), 1)


def tiny(dtype: str = "fp32", *, slots: int = 8, capacity: int = 64) -> TorchBackend:
    """The tiny model, one thread."""
    return TorchBackend(
        config_of("tiny"), weights=tiny_weights(), dtype=dtype, slots=slots, capacity=capacity, threads=1
    )


class Faulty(TorchBackend):
    """The tiny model; a pass over a batch with the token `poison` in it fails, and does not say whose that was."""

    def __init__(self, poison: int, **named: int) -> None:
        super().__init__(config_of("tiny"), weights=tiny_weights(), threads=1, capacity=64, **named)
        self.poison = poison

    def compute(self, batch: Batch) -> Logits:
        """Fails where the poison is."""
        if any(self.poison in tokens for tokens in batch.tokens):
            raise BackendError("injected", "the pass failed")
        return super().compute(batch)
