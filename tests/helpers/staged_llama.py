"""What tests of the llama.cpp backend share: whether its binding is here, and the smallest model file."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.staged_throughput.config import config_of
from perfguard_suites.staged_throughput.llamacpp.backend import LlamaCppBackend
from perfguard_suites.staged_throughput.llamacpp.files import model_file
from perfguard_suites.staged_throughput.llamacpp.library import installed

NEEDS_BINDING = pytest.mark.skipif(not installed(), reason="llama-cpp-python is not installed: make perf-llamacpp")
# Some kilobytes: what is read and broken byte by byte.
SMALLEST = ModelConfig("smallest", 32, 1, 2, 1, 16, 32, 300, 64, norm_eps=1e-6, rope_theta=1e6)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="perfguard-gguf-")


def tiny_file(kind: str) -> Path:
    """The tiny model of that kind, made once a process."""
    return model_file(config_of("tiny"), kind, folder=Path(_folder().name))


def tiny_llama(kind: str = "q4_k_m", *, slots: int = 8, capacity: int = 64) -> LlamaCppBackend:
    """The tiny model on llama.cpp, one thread."""
    return LlamaCppBackend(tiny_file(kind), name=f"llama.cpp-{kind}", slots=slots, capacity=capacity, threads=1)
