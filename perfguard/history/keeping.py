"""What the plugin does with a finished run: into the history, or else onto the disk, with how to load it later.

Nothing here may fail a run: its figures are decided, and a database is not worth losing them for.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from perfguard.document import Run
from perfguard.errors import PerfguardError

HOME = ".perfguard"
DEFAULT = f"{HOME}/history.db"
UNSTORED = "unstored"
OFF = "off"


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a run: `history` is the name of the one that has it, or `problem` says why none has."""

    history: str = ""
    problem: str = ""

    def told(self, cwd: Path) -> str:
        """In words, with a path below `cwd` as it is from there."""
        if self.problem:
            return self.problem
        home = Path(self.history)
        return f"stored in {home.relative_to(cwd) if home.is_relative_to(cwd) else self.history}"


def installed() -> bool:
    """Whether what the extra `history` needs is installed, at versions that serve. Imports none of it."""
    try:
        versions = [importlib.metadata.version(name) for name in ("sqlalchemy", "alembic")]
    except importlib.metadata.PackageNotFoundError:
        return False
    return int(versions[0].partition(".")[0]) >= 2


def keep(run: Run, target: str | Path, root: Path, document: Path | None, *, samples: bool = True) -> Kept:
    """Store `run`; if that fails, leave its document on disk and say where. `document`: where it is, if it is there."""
    from perfguard.history import graph

    placed = replace(run, commit=graph.placed(run.commit, root))
    try:
        from perfguard.history import open_history

        with open_history(target) as history:
            history.add(placed, samples=samples)
            return Kept(history=history.name)
    except PerfguardError as error:
        return Kept(problem=f"not stored: {error}; {_left(placed, root, document)}")
    except Exception as error:  # noqa: BLE001 - whatever a database driver thinks of, the run's figures stand
        return Kept(problem=f"not stored: {type(error).__name__}: {error}; {_left(placed, root, document)}")


def _left(run: Run, root: Path, document: Path | None) -> str:
    """Where the document is, as the command that loads it; it is written unless it is there already."""
    from perfguard.session import write_json

    if document is not None and document.exists():
        return f"later: perfguard history import {document}"
    for folder in (root / HOME / UNSTORED, Path(tempfile.gettempdir())):
        path = folder / f"{run.run_id}.json"
        try:
            _make_home(folder)
            write_json(path, run)
        except (OSError, PerfguardError):
            continue
        return f"later: perfguard history import {path}"
    return "its run document could not be written either: give --perfguard-json PATH on a disk with room"


def _make_home(folder: Path) -> None:
    from perfguard.history.ignored import ignore

    if folder.parent.name == HOME:
        ignore(folder.parent)
        folder.mkdir(exist_ok=True)
