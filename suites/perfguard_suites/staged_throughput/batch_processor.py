"""Stage 3, `BatchProcessor`: several requests in one batch, each with only what was not computed yet."""

from __future__ import annotations

from collections.abc import Sequence as Items

from perfguard_suites.staged_throughput.inputs import Inputs
from perfguard_suites.staged_throughput.model_executor import ModelExecutor
from perfguard_suites.staged_throughput.sequence import Sequence


class BatchProcessor:
    """Computes one step of a batch and hands each sequence its token."""

    def __init__(self, executor: ModelExecutor) -> None:
        self.executor = executor
        self.calls = 0
        self._inputs: Inputs | None = None

    def process(self, chosen: Items[Sequence]) -> tuple[Items[Sequence], list[int]]:
        """One token more for each of these: the sequences in the order of their slots, and their tokens.

        The same object again means the same sequences, each one token further: callers never change a list that they
        gave. Raises `BackendError`: then none has a token more.
        """
        self.calls += 1
        inputs = self._inputs
        if inputs is None or inputs.chosen is not chosen:
            inputs = Inputs(chosen)
        self._inputs = None  # unless this succeeds
        tokens = self.executor.execute(inputs)
        inputs.take(tokens)
        self._inputs = inputs
        return inputs.sequences, tokens
