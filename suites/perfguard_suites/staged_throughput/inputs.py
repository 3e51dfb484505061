"""What a batch's next pass computes, made from its sequences once and then moved on by the tokens that came.

After a pass through tens of megabytes of weights nothing of this is in the caches, neither objects nor bytecode: what
counts is how much of either a step touches. So the loops over a batch run inside `zip`, `map` and `extend`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Items
from functools import partial
from operator import attrgetter

from perfguard_suites.staged_throughput.backend import Batch
from perfguard_suites.staged_throughput.sequence import Sequence

_BY_SLOT = attrgetter("slot")
_following = (1).__add__
_batch = partial(tuple.__new__, Batch)  # as its constructor does, without a function of Python's
_run = deque[None](maxlen=0).extend  # an iterator to its end, keeping nothing


class Inputs:
    """The inputs of `chosen`, as long as the same sequences go on together. `sequences`: those, by slot.

    `random`: whether one of them draws its tokens.
    """

    __slots__ = ("_fresh", "_new", "_positions", "_slots", "_tokens", "chosen", "random", "sequences")

    def __init__(self, chosen: Items[Sequence]) -> None:
        self.chosen = chosen
        self.sequences = sorted(chosen, key=_BY_SLOT)
        self._slots = [each.slot for each in self.sequences]
        self._new: list[Items[int]] = [each.tokens[-1:] or each.prompt for each in self.sequences]
        self._positions = [each.computed for each in self.sequences]
        self._tokens = [each.tokens for each in self.sequences]
        self._fresh = True
        self.random = any(each.rng is not None for each in self.sequences)

    def batch(self) -> Batch:
        """The pass to compute."""
        return _batch((self._slots, self._new, self._positions))

    def take(self, tokens: list[int]) -> None:
        """It was computed: these tokens are each sequence's newest, and next."""
        _run(map(list.append, self._tokens, tokens))
        if self._fresh:
            self._positions = [at + len(new) for at, new in zip(self._positions, self._new, strict=True)]
            self._fresh = False
        else:
            self._positions = list(map(_following, self._positions))
        self._new = list(zip(tokens))
