"""Stage 2, `ModelExecutor`: runs a batch's inputs, and samples from the logits where they lie."""

from __future__ import annotations

from perfguard_suites.staged_throughput.inference_engine import InferenceEngine
from perfguard_suites.staged_throughput.inputs import Inputs
from perfguard_suites.staged_throughput.sampling import greedy, sample
from perfguard_suites.staged_throughput.sequence import Sequence


class ModelExecutor:
    """Runs sequences' new tokens on an engine."""

    def __init__(self, engine: InferenceEngine) -> None:
        self.engine = engine
        self.calls = 0

    def execute(self, inputs: Inputs) -> list[int]:
        """The next token of each of `inputs.sequences`. Raises `BackendError`."""
        self.calls += 1
        logits = self.engine.forward(inputs.batch())
        if not inputs.random:
            return greedy(logits)
        sequences = inputs.sequences
        return sample(logits, [each.sampling for each in sequences], [each.rng for each in sequences])

    def free(self, sequence: Sequence) -> None:
        """Give back a sequence's cells and its id."""
        if sequence.slot >= 0:
            self.engine.free(sequence.slot)
            sequence.slot = -1
