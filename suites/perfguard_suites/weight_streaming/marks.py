"""Spans that a profiler sees by the names that the account has: NVTX under Nsight, record_function under torch's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from perfguard import phase

Mark = Callable[[str], AbstractContextManager[Any]]
NSIGHT = "NVTX_INJECTION64_PATH"  # what Nsight's tools set in the process that they watch


def marks() -> Mark:
    """What marks a span now: a phase, and a profiler's range besides where one is attached."""
    if os.environ.get(NSIGHT):
        return _nvtx
    if torch.autograd.profiler._is_profiler_enabled:  # noqa: SLF001 - torch's own, public nowhere
        return _recorded
    return phase


@contextlib.contextmanager
def _nvtx(name: str) -> Iterator[None]:
    nvtx: Any = torch.cuda.nvtx  # torch's annotations stop here
    nvtx.range_push(name)
    try:
        with phase(name):
            yield
    finally:
        nvtx.range_pop()


@contextlib.contextmanager
def _recorded(name: str) -> Iterator[None]:
    with torch.profiler.record_function(name), phase(name):
        yield
