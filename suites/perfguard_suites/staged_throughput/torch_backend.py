"""The default backend: a Qwen3-shaped model in torch on the CPU, with seeded weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.threads import usable_cpus
from perfguard_suites.split_rpc.weights import Weights, head_weight, module_weight
from perfguard_suites.staged_throughput.backend import Batch, Logits, Recorded, as_logits, check_tokens
from perfguard_suites.staged_throughput.config import config_of
from perfguard_suites.staged_throughput.errors import BackendError
from perfguard_suites.staged_throughput.kv_cache import KeyValueCache
from perfguard_suites.staged_throughput.linear import least_rows
from perfguard_suites.staged_throughput.model import KEY_BLOCK, Qwen3
from perfguard_suites.staged_throughput.weights import qwen3_weights


class TorchBackend(Recorded):
    """A model with `slots` sequences of `capacity` cells each.

    `threads`: for the products; cores - 1 by default, so that server and client have one. In fp32 a sequence's logits
    have the same bits whatever is computed beside it (`invariant`, found out when the model is made); `least_rows` is
    what that costs: shorter batches are filled up.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        weights: Weights | None = None,
        dtype: str = "fp32",
        slots: int = 8,
        capacity: int = 128,
        threads: int = 0,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.name = f"torch-{dtype}"
        self.config, self.dtype = config, dtype
        self.slots, self.vocabulary = slots, config.vocabulary
        self.capacity = min(KEY_BLOCK * math.ceil(capacity / KEY_BLOCK), config.max_positions)
        self.threads = threads or max(1, usable_cpus() - 1)
        torch.set_num_threads(self.threads)
        weights = qwen3_weights(config, seed) if weights is None else weights
        least = 1
        self.invariant = dtype == "fp32"
        if self.invariant:
            kinds = [module_weight(0, module) for module in ("q_proj", "k_proj", "o_proj", "gate_proj", "down_proj")]
            prompts = (2, 3, 4, 5, 6, 7, 8, 16, 31, 32, 33, 8 * 32)
            least = least_rows([*(weights[name] for name in kinds), weights[head_weight(config)][:4096]], prompts)
            self.invariant = least > 0
        self.model = Qwen3(config, weights, dtype, self.capacity, max(1, least))
        self._cache = KeyValueCache(config, slots, self.capacity, self.model.held)

    def compute(self, batch: Batch) -> Logits:
        """See `Backend.forward_batch`."""
        check_tokens(batch, self.vocabulary)
        counts = [len(tokens) for tokens in batch.tokens]
        self._cache.check(batch.sequences, batch.positions, counts)
        try:
            logits = self.model.forward(batch.tokens, batch.sequences, self._cache)
        except RuntimeError as error:
            raise BackendError(self.name, f"the forward pass failed: {error!s:.200}") from error
        for sequence, count in zip(batch.sequences, counts, strict=True):
            self._cache.lengths[sequence] += count
        return as_logits(logits)

    @contextlib.contextmanager
    def unfilled(self) -> Iterator[None]:
        """Inside, short batches are computed as short as they are: faster, and no longer with the same bits."""
        before, self.model.least_rows = self.model.least_rows, 1
        try:
            yield
        finally:
            self.model.least_rows = before

    def free(self, sequence: int) -> None:
        """See `Backend`."""
        self._cache.free(sequence)

    @property
    def cells(self) -> int:
        """See `Backend`."""
        return self._cache.cells

    def close(self) -> None:
        """See `Backend`: the garbage collector does it."""


def torch_backend(
    profile: str, dtype: str = "fp32", *, slots: int = 8, capacity: int = 128, threads: int = 0
) -> TorchBackend:
    """The backend of a profile."""
    return TorchBackend(config_of(profile), dtype=dtype, slots=slots, capacity=capacity, threads=threads)
