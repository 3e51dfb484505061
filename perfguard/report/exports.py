"""Exports: the run in other tools' formats. A kind is a name and the function that gives the file's text.

`--perfguard-export KIND=PATH` looks kinds up here. A new kind is one line; its module is imported when it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, cast

from perfguard.document import Run

# (run, pytest's config) -> the text of the file
Exporter = Callable[[Run, Any], str]

EXPORTS: Mapping[str, str] = {"pytest-benchmark": "perfguard.benchmark.export:render"}


def exporter(kind: str) -> Exporter:
    """The function that renders a run as `kind`, one of `EXPORTS`."""
    module, _, name = EXPORTS[kind].partition(":")
    return cast("Exporter", getattr(importlib.import_module(module), name))
