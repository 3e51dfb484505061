"""llama.cpp behind the `Backend` protocol: one batch array for all passes, logits read where llama.cpp left them."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perfguard_suites.split_rpc.threads import usable_cpus
from perfguard_suites.staged_throughput.backend import Batch, Logits, Recorded, check_tokens
from perfguard_suites.staged_throughput.errors import BackendError, BackendUnavailable
from perfguard_suites.staged_throughput.llamacpp.library import Library, library, load_model
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer

MOST_SLOTS = 64
MOST_AT_ONCE = 512  # positions that llama.cpp computes at once; longer batches take several of its passes


class LlamaCppBackend(Recorded):
    """A GGUF with `slots` sequences of `capacity` cells each, all cells in one cache.

    `threads`: cores - 1 by default, so that server and client have one. `tokenizer`: None for the suite's own. Not
    invariant: what is computed beside a sequence changes its bits, in quantised kernels most of all. Raises
    `ModelFileError` and `BackendUnavailable`.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str = "llama.cpp",
        slots: int = 8,
        capacity: int = 128,
        threads: int = 0,
        tokenizer: ByteTokenizer | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= slots <= MOST_SLOTS:
            raise BackendUnavailable("slots", f"{slots} are not in 1 .. {MOST_SLOTS}")
        self.name, self.path, self.slots = name, path, slots
        self.tokenizer = tokenizer
        self.threads = threads or max(1, usable_cpus() - 1)
        self._library = library()
        api = self._library.api
        model = load_model(path)
        self.vocabulary = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
        self.capacity = min(capacity, int(api.llama_model_n_ctx_train(model)))
        context = api.llama_init_from_model(model, self._parameters())
        if not context:
            api.llama_model_free(model)
            raise BackendUnavailable(str(path), f"llama.cpp makes no context: {self._library.said():.200}")
        self.close = weakref.finalize(self, _release, self._library, context, model)
        self._context, self._memory = context, api.llama_get_memory(context)
        self._lengths = [0] * slots
        self._batch = BatchArray(api, slots * self.capacity)
        self._logits_at, self._logits = 0, np.empty((0, 0), np.float32)

    def _parameters(self) -> Any:
        parameters = self._library.api.llama_context_default_params()
        parameters.n_seq_max = self.slots
        parameters.n_ctx = parameters.n_batch = self.slots * self.capacity
        parameters.n_ubatch = min(MOST_AT_ONCE, parameters.n_batch)
        parameters.n_threads = parameters.n_threads_batch = self.threads
        # One cache for all: cells apart would be faster for neighbouring ids, and split every batch with a gap in them.
        parameters.kv_unified = True
        parameters.no_perf = True
        return parameters

    def compute(self, batch: Batch) -> Logits:
        """See `Backend.forward_batch`."""
        check_tokens(batch, self.vocabulary)
        self._check(batch)
        self._batch.fill(batch)
        status = self._library.api.llama_decode(self._context, self._batch.structure)
        if status:
            for sequence, position in zip(batch.sequences, batch.positions, strict=True):
                self._library.api.llama_memory_seq_rm(self._memory, sequence, position, -1)
            raise BackendError(self.name, f"the forward pass failed with status {status}: {self._library.said():.200}")
        for sequence, tokens in zip(batch.sequences, batch.tokens, strict=True):
            self._lengths[sequence] += len(tokens)
        at = self._library.get_logits(self._context)
        if at != self._logits_at:
            cells = (ctypes.c_float * (self.slots * self.vocabulary)).from_address(at)
            found: Logits = np.ctypeslib.as_array(cells)
            self._logits_at, self._logits = at, found.reshape(self.slots, self.vocabulary)
        return self._logits[: len(batch.sequences)]

    def _check(self, batch: Batch) -> None:
        """That each sequence goes on where it stopped, with room. Raises `BackendError` naming the sequence."""
        if len(set(batch.sequences)) < len(batch.sequences):
            raise BackendError(
                "batch", f"a sequence is in it twice: {list(batch.sequences)}", sequences=batch.sequences
            )
        for sequence, tokens, position in zip(*batch, strict=True):
            if not 0 <= sequence < self.slots:
                problem = f"there are {self.slots} slots"
            elif position != self._lengths[sequence]:
                problem = f"position {position} was asked for, {self._lengths[sequence]} is next"
            elif position + len(tokens) > self.capacity:
                problem = f"{len(tokens)} tokens from {position} on, of {self.capacity} cells"
            else:
                continue
            raise BackendError(f"sequence {sequence}", problem, sequences=[sequence])

    def free(self, sequence: int) -> None:
        """See `Backend`."""
        self._library.api.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self._lengths[sequence] = 0

    def extent(self, sequence: int) -> tuple[int, int]:
        """First and last position that llama.cpp itself has of a sequence; -1, -1 where it has none."""
        api = self._library.api
        first = api.llama_memory_seq_pos_min(self._memory, sequence)
        return int(first), int(api.llama_memory_seq_pos_max(self._memory, sequence))

    @property
    def cells(self) -> int:
        """See `Backend`; llama.cpp's own account."""
        extents = [self.extent(sequence) for sequence in range(self.slots)]
        return sum(last - first + 1 for first, last in extents if last >= 0)


class BatchArray:
    """A `llama_batch` of so many positions at most, filled anew for each pass; the memory is numpy's."""

    def __init__(self, api: Any, size: int) -> None:
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._ids = np.zeros(size, np.int32)
        self._wanted = np.zeros(size, np.int8)
        self._one = np.ones(size, np.int32)  # each position is of one sequence
        self._places = (self._ids.ctypes.data + self._ids.itemsize * np.arange(size)).astype(np.uintp)
        members: tuple[npt.NDArray[Any], ...] = (
            self._tokens, self._positions, self._one, self._places, self._wanted,
        )  # fmt: skip
        fields = ("token", "pos", "n_seq_id", "seq_id", "logits")
        self.structure = api.llama_batch()
        kinds = dict(api.llama_batch._fields_)
        for name, array in zip(fields, members, strict=True):
            setattr(self.structure, name, ctypes.cast(array.ctypes.data, kinds[name]))

    def fill(self, batch: Batch) -> None:
        """Put a batch in: the logits of each sequence's last token are wanted."""
        count = sum(map(len, batch.tokens))
        if count == len(batch.sequences):
            self._tokens[:count] = [tokens[0] for tokens in batch.tokens]
            self._positions[:count] = batch.positions
            self._ids[:count] = batch.sequences
            self._wanted[:count] = 1
        else:
            self._fill_long(batch, count)
        self.structure.n_tokens = count

    def _fill_long(self, batch: Batch, count: int) -> None:
        self._wanted[:count] = 0
        at = 0
        for sequence, tokens, position in zip(*batch, strict=True):
            end = at + len(tokens)
            self._tokens[at:end] = tokens
            self._positions[at:end] = np.arange(position, position + len(tokens))
            self._ids[at:end] = sequence
            self._wanted[end - 1] = 1
            at = end


def _release(lib: Library, context: Any, model: Any) -> None:
    lib.api.llama_free(context)
    lib.api.llama_model_free(model)


def alone(backend: LlamaCppBackend, prompt: Sequence[int], new_tokens: int) -> list[int]:
    """A sequence's greedy tokens with nothing computed beside it."""
    found: list[int] = []
    new, position = list(prompt), 0
    for _ in range(new_tokens):
        row = backend.forward_batch(Batch([0], [new], [position]))[0]
        position += len(new)
        found.append(int(row.argmax()))
        new = found[-1:]
    backend.free(0)
    return found
