"""The other revision on disk: a detached git worktree in a private temporary folder, removed afterwards.

A run that is killed leaves its worktree behind; the folder's name carries the process id, and the next run
removes those whose process is gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from perfguard.errors import DuetError

PREFIX = "perfguard-duet-"
GIT_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Checkout:
    """One side's files: the top of the tree, and what to call it (`main (3f2a1bc)`, `working tree`)."""

    root: Path
    name: str


def top_of(path: Path) -> Path:
    """The top of the git checkout that holds `path`. Raises `DuetError` outside one."""
    return Path(git(path, "rev-parse", "--show-toplevel", culprit=str(path))).resolve()


def commit_of(top: Path, revision: str) -> str:
    """The id of the commit that `revision` names. Raises `DuetError` naming the revision if there is none."""
    if revision.startswith("-"):
        raise DuetError(f"revision {revision!r}", "is none", "name a commit, branch or tag")
    return git(
        top,
        "rev-parse",
        "--verify",
        "--quiet",
        f"{revision}^{{commit}}",
        culprit=f"revision {revision!r}",
        advice="name a commit, branch or tag that this checkout has",
    )


@contextlib.contextmanager
def worktree(top: Path, revision: str) -> Iterator[Checkout]:
    """`revision` of the repository at `top`, checked out for the time of the context.

    Raises `DuetError` naming the revision if there is no such commit or it cannot be checked out.
    """
    remove_orphans(top)
    commit = commit_of(top, revision)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    root = folder / top.name
    try:
        git(top, "worktree", "add", "--detach", "--quiet", str(root), commit, culprit=f"revision {revision!r}")
        yield Checkout(root.resolve(), f"{revision} ({commit[:7]})")
    finally:
        _remove(top, folder)


def remove_orphans(top: Path) -> list[Path]:
    """Remove the worktrees of runs that are gone; which they were."""
    gone = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        match = re.fullmatch(rf"{PREFIX}(\d+)-.*", folder.name)
        if match and folder.is_dir() and folder.stat().st_uid == os.getuid() and not psutil.pid_exists(int(match[1])):
            _remove(top, folder)
            gone.append(folder)
    return gone


def _remove(top: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(DuetError):
        git(top, "worktree", "prune", culprit=str(top))


def git(
    folder: Path,
    *arguments: str,
    culprit: str,
    advice: str = "",
    timeout_s: float = GIT_TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What git says in `folder`, without white space around it; `environment` is added to ours.

    Raises `DuetError` naming `culprit` if it fails.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",  # a subject in another encoding is no reason to fail
            check=False,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DuetError(culprit, f"git cannot be asked: {error}") from error
    if done.returncode != 0:
        raise DuetError(culprit, f"git {arguments[0]} says: {done.stderr.strip() or 'there is no such thing'}", advice)
    return done.stdout.strip()
