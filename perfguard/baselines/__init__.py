"""Baselines: stored summaries of process runs, a TOML file per suite and machine class, for people to review.

`load` and `update` are the whole way in and out; `machine` says which stored times may be compared here.
Reading needs only the standard library from Python 3.11 on; tomlkit is imported when something is written.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from perfguard.baselines.model import BaselineMetric, Baselines, ProcessRun
from perfguard.baselines.reader import load

if TYPE_CHECKING:
    from perfguard.baselines.writer import prune, update

__all__ = ["BaselineMetric", "Baselines", "ProcessRun", "load", "prune", "update"]


def __getattr__(name: str) -> Any:
    if name not in {"prune", "update"}:
        raise AttributeError(f"module 'perfguard.baselines' has no attribute {name!r}")
    return getattr(importlib.import_module("perfguard.baselines.writer"), name)
