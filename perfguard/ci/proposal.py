"""A baseline update as a proposal: a patch in the artifact, or a branch to open a pull request from.

The checkout and its index stay as they are: the files are updated in a copy, and git is given an index of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from perfguard import baselines
from perfguard.ci.artifact import PATCH
from perfguard.document import Run
from perfguard.duet.worktree import git
from perfguard.errors import CiError, DuetError

HOW = ("off", "patch", "branch")
PUSH_TIMEOUT_S = 300.0
# The commit is CI's own: it has no person's name.
AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "perfguard"), ("EMAIL", "perfguard@localhost"))
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """What was proposed: the patch file, and the branch that was pushed ("": none, and `problem` may say why)."""

    patch: Path
    branch: str = ""
    problem: str = ""


def propose(run: Run, top: Path, stored: Path, folder: Path, branch: str = "") -> Proposal | None:
    """Add the run to a copy of the baselines at `stored`, and leave the difference in `folder`; None without any.

    With a `branch`, the same as a commit on top of HEAD is pushed there, over what an earlier run left. A push that is
    refused is told, and the patch is there all the same. Raises `CiError` if `stored` lies outside the checkout, and
    `BaselineError` for baselines that cannot be read.
    """
    if not stored.is_relative_to(top):
        raise CiError(str(stored), f"lies outside the checkout {top}", "a proposal is a change of this repository")
    below = stored.relative_to(top)
    with tempfile.TemporaryDirectory(prefix="perfguard-proposal-") as scratch:
        copy = Path(scratch) / "tree" / below
        copy.parent.mkdir(parents=True)
        if stored.is_dir():
            shutil.copytree(stored, copy)
        if not baselines.update(copy, run):
            return None
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index"), "GIT_WORK_TREE": str(Path(scratch) / "tree")}
        git(top, "read-tree", "HEAD", culprit="HEAD", environment=index)
        git(top, "add", "--all", "--force", "--", f":(top){below.as_posix()}", culprit=str(stored), environment=index)
        difference = git(top, "diff", "--cached", "--binary", "HEAD", culprit=str(stored), environment=index)
        if not difference:
            return None
        patch = folder / PATCH
        patch.write_text(difference + "\n", encoding="utf-8")
        if not branch:
            return Proposal(patch)
        tree = git(top, "write-tree", culprit=str(stored), environment=index)
    message = f"Baselines: one more process run of {run.machine.get('class', 'this machine class')}"
    commit = git(top, "commit-tree", tree, "-p", "HEAD", "-m", message, culprit=branch, environment=AUTHOR)
    try:
        where = f"{commit}:refs/heads/{branch}"
        # Over an earlier proposal: the branch is perfguard's, and what it held is in its pull request.
        git(
            top,
            "push",
            "--quiet",
            "--force",
            "origin",
            where,
            culprit=branch,
            timeout_s=PUSH_TIMEOUT_S,
            environment=_NO_PROMPT,
        )
    except DuetError as error:
        return Proposal(patch, problem=f"the branch {branch} could not be pushed: {error.problem}")
    return Proposal(patch, branch)


_NO_PROMPT = {"GIT_TERMINAL_PROMPT": "0"}
