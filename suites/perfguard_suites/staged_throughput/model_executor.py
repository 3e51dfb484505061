"""Stage 2, `ModelExecutor`: makes a batch of arrays, runs it, and samples from the logits where they lie."""

from __future__ import annotations

from collections.abc import Sequence as Items

from perfguard_suites.staged_throughput.backend import Batch
from perfguard_suites.staged_throughput.inference_engine import InferenceEngine
from perfguard_suites.staged_throughput.sampling import greedy, sample
from perfguard_suites.staged_throughput.sequence import Sequence


class ModelExecutor:
    """Runs sequences' new tokens on an engine."""

    def __init__(self, engine: InferenceEngine) -> None:
        self.engine = engine
        self.calls = 0

    def execute(self, sequences: Items[Sequence], tokens: Items[list[int]]) -> list[int]:
        """The next token of each sequence after these new ones. Raises `BackendError`."""
        self.calls += 1
        batch = Batch([each.slot for each in sequences], tokens, [each.computed for each in sequences])
        random = [each.rng for each in sequences if each.rng is not None]
        logits = self.engine.forward(batch)
        if not random:
            return greedy(logits)
        return sample(logits, [each.sampling for each in sequences], [each.rng for each in sequences])

    def free(self, sequence: Sequence) -> None:
        """Give back a sequence's cells and its id."""
        if sequence.slot >= 0:
            self.engine.free(sequence.slot)
            sequence.slot = -1
