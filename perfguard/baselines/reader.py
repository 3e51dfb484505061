"""Reading a folder of baselines: which files apply on this machine class, and what all of them say.

A file that is there but cannot be understood stops the run: it never counts as "no baseline".
A folder that is not there is simply a project without baselines yet.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from perfguard.baselines import machine, schema
from perfguard.baselines.locate import line_of
from perfguard.baselines.model import PORTABLE, BaselineMetric, Baselines, MetricKey
from perfguard.errors import BaselineError

SUFFIX = ".toml"


def load(folder: Path, machine_class: str, suites: Iterable[str] | None = None) -> Baselines:
    """The baselines in `folder` that apply on `machine_class`, of `suites` only or of all.

    Raises `BaselineError` (`file:line: key`, problem, advice) on any file that breaks the schema.
    """
    wanted = None if suites is None else frozenset(suites)
    metrics: dict[MetricKey, BaselineMetric] = {}
    for home in (PORTABLE, machine_class):
        for path in baseline_files(folder, home):
            if wanted is not None and suite_of(path) not in wanted:
                continue
            for (case_key, name), metric in read(path).metrics.items():
                key = (suite_of(path), case_key, name)
                if key in metrics:
                    raise BaselineError(
                        f"{metric.source}: {case_key} {name}",
                        f"stored twice, also at {metrics[key].source}",
                        "remove the one that is out of date",
                    )
                metrics[key] = metric
    others = tuple(name for name in machine_classes(folder) if name != machine_class)
    return Baselines(str(folder), machine_class, metrics, others)


def read(path: Path) -> schema.BaselineFile:
    """One baseline file, checked, also against the folder and the name under which it is stored."""
    return parse(schema.decode(read_bytes(path), str(path)), path)


def read_bytes(path: Path) -> bytes:
    """The bytes of a baseline file. Raises `BaselineError` if it is no regular file or cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a FIFO or a device would hang
            raise BaselineError(str(path), "is no regular file", "a baseline is a TOML file")
        with path.open("rb") as file:
            return file.read(schema.MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BaselineError(str(path), f"cannot be read: {error.strerror or error}") from error


def parse(text: str, path: Path) -> schema.BaselineFile:
    """The content of a baseline file, which must say the suite and machine class that `path` says."""
    content = schema.parse(text, str(path))
    if content.suite != suite_of(path):
        raise BaselineError(
            f"{path}:{line_of(text, ('suite',))}: suite",
            f"{content.suite!r} in a file named {path.name}",
            "the file is named after its suite",
        )
    home = path.parent.name
    if (content.machine_class or PORTABLE) != home:
        found = "no machine class" if content.machine_class is None else repr(content.machine_class)
        raise BaselineError(
            f"{path}:{line_of(text, ('machine_class',))}: machine_class",
            f"{found} in a file under {home}/",
            "move the file to the folder of its machine class; a portable file has none",
        )
    return content


def file_of(folder: Path, home: str, suite: str) -> Path:
    """Where the baselines of `suite` are stored under `home` (a machine class or `portable`).

    Characters that are unsafe in file names are percent-encoded, a leading dot too.
    """
    name = quote(suite, safe=" +@=,")
    return folder / home / ((f"%2E{name[1:]}" if name.startswith(".") else name) + SUFFIX)


def suite_of(path: Path) -> str:
    """The suite that a baseline file is named after."""
    return unquote(path.name[: -len(SUFFIX)])


def baseline_files(folder: Path, home: str) -> tuple[Path, ...]:
    """The baseline files under `folder/home`, sorted; none if there is no such folder."""
    return tuple(path for path in _entries(folder / home) if path.suffix == SUFFIX and not path.name.startswith("."))


def machine_classes(folder: Path) -> tuple[str, ...]:
    """The machine classes that have baseline files in `folder`, sorted."""
    homes = (path.name for path in _entries(folder) if path.is_dir() and not path.name.startswith("."))
    return tuple(home for home in homes if home != PORTABLE and baseline_files(folder, home))


def machine_of(folder: Path, machine_class: str) -> dict[str, object]:
    """What a machine class in `folder` stands for, from its first file; {} if no file says."""
    for path in baseline_files(folder, machine_class):
        known = read(path).machine
        if known:
            return dict(known)
    return {}


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise BaselineError(
            str(folder),
            f"cannot be listed: {error.strerror or error}",
            "the baselines folder holds one folder per machine class, and portable/",
        ) from error


def class_differences(folder: Path, description: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """For each other machine class in `folder`: in what it differs from `description`, in words.

    An empty tuple means that its files do not say what the class stands for.
    """
    ours = machine.machine_class(description)
    stored = {name: machine_of(folder, name) for name in machine_classes(folder) if name != ours}
    return {name: machine.differences(description, known) if known else () for name, known in stored.items()}
