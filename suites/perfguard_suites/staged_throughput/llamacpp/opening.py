"""The llama.cpp backend of a profile, or of the user's own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perfguard_suites.staged_throughput.config import config_of
from perfguard_suites.staged_throughput.llamacpp.backend import LlamaCppBackend
from perfguard_suites.staged_throughput.llamacpp.files import model_file


def llama_backend(
    profile: str,
    kind: str = "q4_k_m",
    *,
    gguf: Path | None = None,
    slots: int = 8,
    capacity: int = 128,
    threads: int = 0,
    say: Callable[[str], object] = lambda _: None,
) -> LlamaCppBackend:
    """`gguf`: the user's file, with its own tokenizer, in place of the profile's model with random weights.

    Raises `BackendUnavailable`, `ConfigurationError` and `ModelFileError`.
    """
    if gguf is None:
        path = model_file(config_of(profile), kind, say=say)
        return LlamaCppBackend(path, name=f"llama.cpp-{kind}", slots=slots, capacity=capacity, threads=threads)
    from perfguard_suites.staged_throughput.llamacpp.gguf_tokenizer import GgufTokenizer
    from perfguard_suites.staged_throughput.llamacpp.trial import try_file

    try_file(gguf)
    return LlamaCppBackend(
        gguf,
        name=f"llama.cpp-{gguf.stem}",
        slots=slots,
        capacity=capacity,
        threads=threads,
        tokenizer=GgufTokenizer(gguf),
    )
