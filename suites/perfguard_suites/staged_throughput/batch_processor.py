"""Stage 3, `BatchProcessor`: several requests in one batch, each with only what was not computed yet."""

from __future__ import annotations

from collections.abc import Sequence as Items
from operator import attrgetter
from time import perf_counter

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
        new = [each.tokens[-1:] if each.tokens else each.prompt for each in batch]
        found = self.executor.execute(batch, new)
        now_s = perf_counter()
        for each, fresh, token in zip(batch, new, found, strict=True):
            each.computed += len(fresh)
            each.tokens.append(token)
            each.token_s.append(now_s)
