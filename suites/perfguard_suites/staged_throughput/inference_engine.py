"""Stage 1, `InferenceEngine`: the life of a model and its tokenizer, from opening to closing."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from perfguard_suites.staged_throughput.backend import Backend, Batch, Logits
from perfguard_suites.staged_throughput.errors import BackendError
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer

if TYPE_CHECKING:
    from typing_extensions import Self


class InferenceEngine:
    """A backend that is open, with the tokenizer of its vocabulary. Use it as a context, or close it."""

    def __init__(self, backend: Backend) -> None:
        self.backend: Backend = backend
        self.tokenizer = backend.tokenizer or ByteTokenizer(backend.vocabulary)
        self.closed = False
        self.calls = 0

    def forward(self, batch: Batch) -> Logits:
        """See `Backend.forward_batch`. Raises `BackendError` when closed."""
        self.calls += 1
        if self.closed:
            raise BackendError(self.backend.name, "the engine is closed")
        return self.backend.forward_batch(batch)

    def free(self, sequence: int) -> None:
        """Forget a sequence."""
        self.backend.free(sequence)

    def close(self) -> None:
        """Release the model; idempotent."""
        if not self.closed:
            self.closed = True
            self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
