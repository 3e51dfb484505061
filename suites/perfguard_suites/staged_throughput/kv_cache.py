"""Keys and values of every sequence: one slot a sequence, as many cells a slot as it has positions at most."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.staged_throughput.errors import BackendError


class KeyValueCache:
    """Rotated keys and values, one tensor a layer: (slots, kv_heads, capacity, head_dim).

    A slot is a sequence id; `lengths[slot]` of its cells are in use. A freed slot serves the next sequence: what lies
    in cells beyond a sequence's length is never looked at.
    """

    def __init__(self, config: ModelConfig, slots: int, capacity: int, dtype: torch.dtype) -> None:
        shape = (slots, config.kv_heads, capacity, config.head_dim)
        self.capacity = capacity
        self.lengths = [0] * slots
        self.keys = [torch.zeros(shape, dtype=dtype) for _ in range(config.layers)]
        self.values = [torch.zeros(shape, dtype=dtype) for _ in range(config.layers)]

    @property
    def cells(self) -> int:
        """Cells in use."""
        return sum(self.lengths)

    def check(self, sequences: Sequence[int], positions: Sequence[int], counts: Sequence[int]) -> None:
        """That each sequence goes on where it stopped, with room. Raises `BackendError` naming the sequence."""
        if len(set(sequences)) < len(sequences):
            raise BackendError("batch", f"a sequence is in it twice: {list(sequences)}", sequences=sequences)
        for sequence, position, count in zip(sequences, positions, counts, strict=True):
            where = f"sequence {sequence}"
            if not 0 <= sequence < len(self.lengths):
                raise BackendError(where, f"there are {len(self.lengths)} slots", sequences=[sequence])
            if position != self.lengths[sequence]:
                raise BackendError(
                    where,
                    f"position {position} was asked for, {self.lengths[sequence]} is next",
                    "free a sequence before its id is used again",
                    sequences=[sequence],
                )
            if count < 1 or position + count > self.capacity:
                raise BackendError(
                    where, f"{count} tokens from {position} on, of {self.capacity} cells", sequences=[sequence]
                )

    def free(self, sequence: int) -> None:
        """Give a sequence's cells back; idempotent."""
        self.lengths[sequence] = 0
