"""Stage 3, `BatchProcessor`: several requests in one batch, each with only what was not computed yet."""

from __future__ import annotations

from collections.abc import Sequence as Items
from operator import attrgetter

from perfguard_suites.staged_throughput.model_executor import ModelExecutor
from perfguard_suites.staged_throughput.sequence import Sequence

_BY_SLOT = attrgetter("slot")


class BatchProcessor:
    """Computes one step of a batch and hands each sequence its token."""

    def __init__(self, executor: ModelExecutor) -> None:
        self.executor = executor
        self.calls = 0

    def process(self, sequences: Items[Sequence]) -> None:
        """One token more for each of these. Raises `BackendError`: then none has one."""
        self.calls += 1
        batch = sorted(sequences, key=_BY_SLOT)
        new = [each.tokens[-1:] or each.prompt for each in batch]
        for each, token in zip(batch, self.executor.execute(batch, new), strict=True):
            each.tokens.append(token)
