"""Arithmetic on one thread: OpenMP's idle threads would spin on the readers' CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perfguard_suites.weight_streaming.bench import one_thread


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    """Undone after each test."""
    with one_thread():
        yield
