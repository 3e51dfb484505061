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
    path = model_path(profile, kind, gguf=gguf, say=say)
    tokenizer = None
    if gguf is not None:
        from perfguard_suites.staged_throughput.llamacpp.gguf_tokenizer import GgufTokenizer

        tokenizer = GgufTokenizer(path)
    return LlamaCppBackend(
        path,
        name=f"llama.cpp-{kind if gguf is None else path.stem}",
        slots=slots,
        capacity=capacity,
        threads=threads,
        tokenizer=tokenizer,
    )


def model_path(
    profile: str, kind: str, *, gguf: Path | None = None, say: Callable[[str], object] = lambda _: None
) -> Path:
    """The profile's file, made if need be, or the user's own, tried first. Raises as `llama_backend` does."""
    if gguf is None:
        return model_file(config_of(profile), kind, say=say)
    from perfguard_suites.staged_throughput.llamacpp.trial import try_file

    try_file(gguf)
    return gguf
