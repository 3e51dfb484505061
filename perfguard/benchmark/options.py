"""The `--benchmark-*` options as data: how each is written, and whether it has a meaning here.

Standard library only: every pytest start reads this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FLAG: Mapping[str, Any] = {"action": "store_true"}
TEXT: Mapping[str, Any] = {"metavar": "VALUE"}
MAYBE: Mapping[str, Any] = {"metavar": "VALUE", "nargs": "?", "const": ""}
SEVERAL: Mapping[str, Any] = {"metavar": "VALUE", "nargs": "+"}

# What chooses tests: it means the same with and without a measurement.
CHOOSING: Mapping[str, Mapping[str, Any]] = {"skip": FLAG, "only": FLAG, "disable": FLAG, "enable": FLAG}
# What says how to measure, and where the result goes.
MEASURING: Mapping[str, Mapping[str, Any]] = {
    "min-time": TEXT,
    "max-time": TEXT,
    "min-rounds": TEXT,
    "precision": TEXT,
    "confidence": TEXT,
    "timer": TEXT,
    "warmup": MAYBE,
    "disable-gc": FLAG,
    "json": TEXT,
}
# What perfguard has no use for, or its own way: tables, storage, comparisons, profiles.
OTHER: Mapping[str, Mapping[str, Any]] = {
    "calibration-precision": TEXT,
    "warmup-iterations": TEXT,
    "save": TEXT,
    "autosave": FLAG,
    "save-data": FLAG,
    "compare": MAYBE,
    "compare-fail": SEVERAL,
    "cprofile": TEXT,
    "cprofile-loops": TEXT,
    "cprofile-top": TEXT,
    "cprofile-dump": MAYBE,
    "storage": TEXT,
    "netrc": MAYBE,
    "verbose": FLAG,
    "quiet": FLAG,
    "sort": TEXT,
    "group-by": TEXT,
    "columns": TEXT,
    "name": TEXT,
    "time-unit": TEXT,
    "histogram": MAYBE,
    "csv": MAYBE,
}
ALL: Mapping[str, Mapping[str, Any]] = {**CHOOSING, **MEASURING, **OTHER}
PREFIX = "benchmark_"


def dest(name: str) -> str:
    """Where argparse puts `--benchmark-<name>`."""
    return PREFIX + name.replace("-", "_")


def declared(parser: Any) -> dict[str, Any]:
    """The defaults of such options as plugins have declared, by destination."""
    known = vars(parser.parse_known_args([]))
    return {name: value for name, value in known.items() if name.startswith(PREFIX)}


def add_missing(parser: Any) -> dict[str, Any]:
    """Declare those options that no other plugin has declared; returns all defaults, by destination."""
    defaults = declared(parser)
    group = parser.getgroup("benchmark", "the options of pytest-benchmark, as far as perfguard stands in for it")
    for name, how in ALL.items():
        if dest(name) not in defaults:
            group.addoption(f"--benchmark-{name}", dest=dest(name), default=None, help=_help(name), **how)
            defaults[dest(name)] = None
    return defaults


def given(option: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, by name as in `ALL`: those whose value is not the default."""
    values = {name: getattr(option, dest(name), None) for name in ALL}
    return {name: value for name, value in values.items() if value is not None and value != defaults.get(dest(name))}


def ignored(names: Mapping[str, Any], *, measuring: bool) -> list[str]:
    """Those of the given options that change nothing, as they are written."""
    honoured = {*CHOOSING, *MEASURING} if measuring else set(CHOOSING)
    return [f"--benchmark-{name}" for name in sorted(set(names) - honoured)]


def _help(name: str) -> str:
    if name in CHOOSING:
        return "as in pytest-benchmark"
    return "as in pytest-benchmark, with --perfguard" if name in MEASURING else "accepted and ignored"
