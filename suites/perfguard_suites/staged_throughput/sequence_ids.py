"""The ids that sequences have in the backend: the lowest free one first, so that batches lie side by side."""

from __future__ import annotations

import heapq

from perfguard_suites.staged_throughput.errors import StagedError


class SequenceIds:
    """Ids 0 .. count - 1, recycled."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count))
        self.taken: set[int] = set()

    @property
    def free(self) -> int:
        """How many are left."""
        return len(self._free)

    def take(self) -> int:
        """The lowest free id. Raises `StagedError` where there is none."""
        if not self._free:
            raise StagedError("sequence ids", "all are taken")
        found = heapq.heappop(self._free)
        self.taken.add(found)
        return found

    def give_back(self, sequence: int) -> None:
        """Raises `StagedError` for one that was not taken."""
        if sequence not in self.taken:
            raise StagedError(f"sequence id {sequence}", "was not taken")
        self.taken.remove(sequence)
        heapq.heappush(self._free, sequence)
