"""Where a commit lies: how many commits are below it on the first-parent line, its parents, its branch.

Asked of git when a run is stored, since a database has no checkout. CI checks out commits without a branch; then the
variables that CI systems set tell it. A pull request is never taken for the branch whose name its author gave it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfguard.programs import output_of

TIMEOUT_S = 20.0


def placed(commit: Mapping[str, Any], folder: Path, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """A run document's `commit` with `position`, `parents` and `branch` as far as they can be known at `folder`.

    What the document says already is kept. `position` is None in a shallow clone, and where git does not know it.
    """
    found = dict(commit)
    sha = str(commit.get("id", ""))
    if not sha:
        return found
    if found.get("position") is None:
        found["position"] = _position(sha, folder)
    if not found.get("parents"):
        found["parents"] = _git(folder, "log", "-1", "--format=%P", sha).split()
    found["branch"] = branch_of(found, environ)
    return found


def branch_of(commit: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """The branch a commit was measured for: the checkout's, else what CI says; `pull/12` for a pull request's."""
    if environ.get("GITHUB_REF", "").startswith("refs/pull/"):
        return "/".join(environ["GITHUB_REF"].split("/")[1:3])
    if environ.get("CI_MERGE_REQUEST_IID"):
        return f"merge/{environ['CI_MERGE_REQUEST_IID']}"
    if commit.get("branch"):
        return str(commit["branch"])
    if environ.get("GITHUB_REF_TYPE") == "branch":
        return environ.get("GITHUB_REF_NAME", "")
    return environ.get("CI_COMMIT_BRANCH", "")


def _position(sha: str, folder: Path) -> int | None:
    if _git(folder, "rev-parse", "--is-shallow-repository") != "false":
        return None
    count = _git(folder, "rev-list", "--count", "--first-parent", sha)
    return int(count) if count.isdigit() else None


def _git(folder: Path, *arguments: str) -> str:
    return output_of(["git", "-C", str(folder), *arguments], TIMEOUT_S).strip()
