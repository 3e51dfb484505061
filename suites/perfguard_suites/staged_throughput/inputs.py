"""What a batch's next pass computes, made from its sequences once and then moved on by the tokens that came."""

from __future__ import annotations

from collections.abc import Sequence as Items
from operator import attrgetter

from perfguard_suites.staged_throughput.backend import Batch
from perfguard_suites.staged_throughput.sequence import Sequence

_BY_SLOT = attrgetter("slot")


class Inputs:
    """The inputs of `chosen`, as long as the same sequences go on together. `sequences`: those, by slot.

    A sequence's objects are looked at when it comes into a batch, not in every step: after a forward pass nothing of
    them is in the caches any more. `random`: whether one of them draws its tokens.
    """

    __slots__ = ("_new", "_positions", "_slots", "chosen", "random", "sequences")

    def __init__(self, chosen: Items[Sequence]) -> None:
        self.chosen = chosen
        self.sequences = sorted(chosen, key=_BY_SLOT)
        self._slots = [each.slot for each in self.sequences]
        self._new = [each.tokens[-1:] or each.prompt for each in self.sequences]
        self._positions = [each.computed for each in self.sequences]
        self.random = any(each.rng is not None for each in self.sequences)

    def batch(self) -> Batch:
        """The pass to compute."""
        return Batch(self._slots, self._new, self._positions)

    def advance(self, tokens: list[int]) -> None:
        """It was computed, and these tokens are next."""
        self._positions = [at + len(new) for at, new in zip(self._positions, self._new, strict=True)]
        self._new = [[token] for token in tokens]
