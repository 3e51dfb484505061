"""The commits between two revisions, as git lists them: reading only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perfguard.duet.worktree import commit_of, git
from perfguard.errors import DuetError


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of the path from GOOD to BAD."""

    id: str
    subject: str
    parents: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """Enough of the id to find it."""
        return self.id[:9]


def commits_between(top: Path, good: str, bad: str) -> tuple[Commit, ...]:
    """GOOD, then the commits that lead to BAD, oldest first, BAD last; merged branches count as their merge.

    The path follows first parents from BAD as far as they contain GOOD. Raises `DuetError` naming the revision that
    does not exist, or both if GOOD is no ancestor of BAD.
    """
    first, last = commit_of(top, good), commit_of(top, bad)
    if first == last:
        raise DuetError(f"{good} and {bad}", f"are the same commit {first[:9]}", "name two")
    culprit = f"{good} ({first[:9]})"
    if git(top, "rev-list", "--count", f"{last}..{first}", culprit=culprit) != "0":
        swapped = git(top, "rev-list", "--count", f"{first}..{last}", culprit=culprit) == "0"
        advice = "the other way round?" if swapped else f"git merge-base {good} {bad} names a commit to start from"
        raise DuetError(culprit, f"is no ancestor of {bad} ({last[:9]})", advice)
    path = _listed(top, "--first-parent", "--reverse", f"{first}..{last}")
    descends = set(git(top, "rev-list", "--ancestry-path", f"{first}..{last}", culprit=culprit).split())
    return (*_listed(top, "--max-count=1", first), *(commit for commit in path if commit.id in descends))


def branch_base(top: Path, merge: Commit) -> str:
    """Where the branch that a merge brought in left the path. Raises `DuetError` for unrelated histories."""
    return git(top, "merge-base", merge.parents[0], merge.parents[1], culprit=f"the merge {merge.short}")


def _listed(top: Path, *which: str) -> list[Commit]:
    rows = git(top, "rev-list", "--format=%H%x00%P%x00%s", *which, culprit=which[-1]).split("\n")
    fields = (row.split("\0") for row in rows if "\0" in row)  # the others are headings
    return [Commit(commit, subject, tuple(parents.split())) for commit, parents, subject in fields]
