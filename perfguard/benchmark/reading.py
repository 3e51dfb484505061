"""pytest-benchmark's JSON, read as a run of the past: each file becomes one process run of the baselines.

The files come from anywhere, so their size and every value that is used are checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfguard.baselines import machine
from perfguard.document import Case, Metric, Run
from perfguard.errors import BaselineError, DocumentError
from perfguard.naming import home_of
from perfguard.stats.quantiles import Interval, median_interval

MAX_FILE_BYTES = 256 * 1024 * 1024
ADVICE = "name a file that --benchmark-json, --benchmark-save or --perfguard-export pytest-benchmark= has written"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Entry:
    """One case of a file: its node id there, and its seconds per call over `rounds` rounds."""

    fullname: str
    rounds: int
    interval: Interval


@dataclass(frozen=True)
class Saved:
    """One file. `machine` holds those parts of a machine description that such files know; `date` is ISO 8601."""

    source: str
    date: str
    commit: Mapping[str, Any]
    machine: Mapping[str, Any]
    entries: tuple[Entry, ...]


def load(path: Path) -> Saved:
    """The content of a file. Raises `DocumentError` naming the file and what is wrong."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DocumentError(str(path), f"is larger than {MAX_FILE_BYTES} bytes", ADVICE)
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DocumentError(str(path), f"cannot be read as JSON: {error}", ADVICE) from error
    try:
        return parse(raw, str(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DocumentError(str(path), f"a part is missing or wrong: {error!r}", ADVICE) from error


def parse(raw: Any, source: str) -> Saved:
    """The content of a parsed file. Raises KeyError, TypeError, ValueError or AttributeError on a wrong shape."""
    commit = raw.get("commit_info") or {}
    commit_id = str(commit.get("id", ""))
    return Saved(
        source=source,
        date=str(raw["datetime"]),
        commit={
            "id": "" if commit_id in {"unversioned", "unknown"} else commit_id,
            "branch": str(commit.get("branch", "")),
            "dirty": bool(commit.get("dirty")),
            "time": str(commit.get("time") or ""),
        },
        machine=described(raw.get("machine_info") or {}),
        entries=tuple(_entry(entry) for entry in raw["benchmarks"]),
    )


def described(info: Mapping[str, Any]) -> dict[str, Any]:
    """A `machine_info` under perfguard's names, as far as it goes."""
    cpu = info.get("cpu") or {}
    model = str(cpu.get("brand_raw") or cpu.get("brand") or "")
    version = ".".join(str(info.get("python_version", "")).split(".")[:2])
    found = {
        "architecture": info.get("machine"),
        "cpu_model": " ".join(model.split()),
        "cpus": cpu.get("count"),
        "kernel": str(info.get("release", "")).split(".")[0],
        "os": info.get("system"),
        "python": f"{info['python_implementation']} {version}" if "python_implementation" in info and version else "",
    }
    return {key: value for key, value in found.items() if isinstance(value, int | str) and value}


def as_run(saved: Saved, root: Path, machine_class: str | None) -> Run:
    """The file as a run document, its cases keyed by where their test files lie below `root`.

    With `machine_class` None it was measured here: `BaselineError` if what the file says of its machine differs.
    """
    return Run(
        run_id=f"import-{Path(saved.source).stem}",
        started=saved.date,
        finished=saved.date,
        profile="pytest-benchmark",
        machine=_machine(saved, machine_class),
        commit=saved.commit,
        cases=tuple(_case(entry, root) for entry in saved.entries),
    )


def missing_files(saved: Saved, root: Path) -> tuple[str, ...]:
    """The test files of `saved` that are not below `root`: their packages cannot be known."""
    names = dict.fromkeys(entry.fullname.split("::", 1)[0] for entry in saved.entries)
    return tuple(name for name in names if not (root / name).is_file())


def _machine(saved: Saved, machine_class: str | None) -> dict[str, Any]:
    if machine_class is not None:
        return {"class": machine_class, **saved.machine}
    here = machine.describe()
    differing = [
        f"{key} ({here.get(key, 'none')} here, {value} there)"
        for key, value in saved.machine.items()
        if here.get(key) != value
    ]
    if differing:
        raise BaselineError(
            saved.source,
            f"was measured on another machine: {', '.join(differing)}",
            "name its class with --machine-class; `perfguard machine` there prints it",
        )
    return {"class": machine.machine_class(here), **here}


def _case(entry: Entry, root: Path) -> Case:
    file, _, tail = entry.fullname.partition("::")
    module, suite = home_of(root / file)
    interval = entry.interval
    time = Metric(
        name="time",
        unit="s",
        direction="lower",
        kind="time",
        gated=True,
        n=entry.rounds,
        median=interval.estimate,
        ci=(interval.low, interval.high),
        confidence=interval.confidence,
    )
    return Case(entry.fullname, f"{module}::{tail}", suite, "passed", metrics=(time,))


def _entry(raw: Mapping[str, Any]) -> Entry:
    fullname, stats = str(raw["fullname"]), raw["stats"]
    if "::" not in fullname:
        raise ValueError(f"{fullname!r} is no node id")
    if data := stats.get("data"):
        values = [_figure(fullname, value) for value in data]
        return Entry(fullname, len(values), median_interval(values, CONFIDENCE))
    rounds = int(stats["rounds"])
    if rounds < 1:
        raise ValueError(f"{fullname}: {rounds} rounds")
    return Entry(fullname, rounds, notch({name: _figure(fullname, stats[name]) for name in _QUARTILES}, rounds))


_QUARTILES = ("min", "max", "median", "q1", "q3")


def notch(stats: Mapping[str, float], rounds: int) -> Interval:
    """The median and its 95 % interval where a file keeps quartiles only: median +- 1.57 IQR / sqrt(rounds).

    Source: McGill, Tukey & Larsen, Variations of Box Plots, The American Statistician 32 (1978) 12-16.
    """
    half = 1.57 * (stats["q3"] - stats["q1"]) / math.sqrt(rounds)
    middle = stats["median"]
    return Interval(middle, max(stats["min"], middle - half), min(stats["max"], middle + half), CONFIDENCE)


def _figure(fullname: str, value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{fullname}: a time of {value!r}")
    return number
