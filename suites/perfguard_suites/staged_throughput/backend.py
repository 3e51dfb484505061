"""Stage 0, the model runtime: one call computes a batch of sequences, and says when it began and ended."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from perfguard.ladder import Forward
from perfguard_suites.staged_throughput.errors import BackendError
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer

Logits = npt.NDArray[np.float32]


class Batch(NamedTuple):
    """What one forward pass computes: the new tokens of each sequence from its position on.

    `sequences`: ids below the backend's `slots`, ascending; `positions`: of each one's first new token, which the
    backend checks against its cells.
    """

    sequences: Sequence[int]
    tokens: Sequence[Sequence[int]]
    positions: Sequence[int]

    @property
    def kind(self) -> str:
        """`prefill` where a sequence begins, `decode` where all go on, `mixed` for both."""
        begins = sum(position == 0 for position in self.positions)
        return "decode" if not begins else "prefill" if begins == len(self.positions) else "mixed"


class Backend(Protocol):
    """A model runtime with a KV cache.

    `calls` grows with every successful `forward_batch`, and the record of passes while `recording`. `invariant`: a
    sequence's logits have the same bits whatever is computed beside it. `tokenizer`: the model's own, if it has one.
    """

    name: str
    threads: int
    slots: int
    capacity: int
    vocabulary: int
    calls: int
    recording: bool
    invariant: bool
    tokenizer: ByteTokenizer | None

    def unfilled(self) -> contextlib.AbstractContextManager[None]:
        """Inside, short batches are computed as fast as they can be, invariant or not."""

    def forwards(self) -> tuple[Forward, ...]:
        """The passes on record."""

    def forget(self) -> None:
        """Drop the record."""

    def forward_batch(self, batch: Batch) -> Logits:
        """Logits (sequences, vocabulary) after each sequence's new tokens: a view, valid until the next call.

        Raises `BackendError`, and then the cache is as it was before.
        """

    def free(self, sequence: int) -> None:
        """Forget a sequence: its cells and its id are free."""

    @property
    def cells(self) -> int:
        """Cells of the KV cache in use."""

    def close(self) -> None:
        """Release the model; idempotent."""


class Recorded:
    """A backend's books: calls and forward passes. Subclasses compute.

    `recording`: whether passes are kept; a server that runs on and on does not. Between two passes the books cost an
    append, since that is time which the ladder measures.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.recording = True
        self.invariant = False
        self.tokenizer: ByteTokenizer | None = None
        self._passes: list[tuple[float, float, Batch]] = []

    def unfilled(self) -> contextlib.AbstractContextManager[None]:
        """See `Backend`."""
        return contextlib.nullcontext()

    def forwards(self) -> tuple[Forward, ...]:
        """The passes since `forget`."""
        return tuple(
            Forward(begin_s, end_s, len(batch.sequences), sum(map(len, batch.tokens)), batch.kind)
            for begin_s, end_s, batch in self._passes
        )

    def forget(self) -> None:
        """Drop the record."""
        self._passes.clear()

    def forward_batch(self, batch: Batch) -> Logits:
        """See `Backend`."""
        begin_s = perf_counter()
        logits = self.compute(batch)
        if self.recording:
            self._passes.append((begin_s, perf_counter(), batch))
        self.calls += 1
        return logits

    def compute(self, batch: Batch) -> Logits:
        """One forward pass."""
        raise NotImplementedError


def check_tokens(batch: Batch, vocabulary: int) -> None:
    """That a batch is none of nothing and its tokens exist. Raises `BackendError` naming the sequences at fault."""
    if not batch.sequences or not len(batch.sequences) == len(batch.tokens) == len(batch.positions):
        raise BackendError("batch", "holds no sequence, or not each has its tokens and position")
    wrong = [
        sequence
        for sequence, tokens in zip(batch.sequences, batch.tokens, strict=True)
        if not tokens or min(tokens) < 0 or max(tokens) >= vocabulary
    ]
    if wrong:
        raise BackendError(f"sequences {wrong}", f"no tokens, or some outside 0 .. {vocabulary - 1}", sequences=wrong)


def as_logits(tensor: Any) -> Logits:
    """A torch tensor's memory as numpy sees it: nothing is copied."""
    logits: Logits = tensor.numpy()
    return logits
