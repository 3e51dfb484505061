"""Claims about the path between two revisions, on real git repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from perfguard.bisect.history import branch_base, commits_between
from perfguard.errors import DuetError


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """main: one - two - merge - three; the merge brings in a branch of two commits, left at one."""
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    git(tmp_path, "checkout", "-q", "-b", "branch")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "inner one")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "inner two")
    git(tmp_path, "checkout", "-q", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "two")
    git(tmp_path, "merge", "-q", "--no-ff", "-m", "merge", "branch")
    git(tmp_path, "commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "")
    return tmp_path


def test_a_merged_branch_counts_as_its_merge(repository: Path) -> None:
    """First parents, oldest first; a commit without a subject too. The branch's start is known for a further search."""
    path = commits_between(repository, "main~3", "main")
    assert [commit.subject for commit in path] == ["one", "two", "merge", ""]
    assert [commit.id for commit in path] == [git(repository, "rev-parse", f"main~{n}") for n in (3, 2, 1, 0)]
    assert branch_base(repository, path[2]) == path[0].id
    assert path[2].parents == (path[1].id, git(repository, "rev-parse", "branch"))


def test_commits_that_do_not_contain_good_are_no_candidates(repository: Path) -> None:
    """With GOOD on the merged branch, main before the merge says nothing about what came after GOOD."""
    path = commits_between(repository, "branch", "main")
    assert [commit.subject for commit in path] == ["inner two", "merge", ""]


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("main", "main~1", r"no ancestor of main~1 .*other way round"),
        ("main~2", "branch", r"no ancestor of branch .*merge-base"),
        ("main", "HEAD", "same commit"),
        ("no-such", "main", "no-such"),
        ("main~3", "no-such", "no-such"),
        ("main~3", "--all", "--all"),
    ],
)
def test_revisions_between_which_there_is_no_path_are_named(repository: Path, good: str, bad: str, said: str) -> None:
    """Unknown, swapped, unrelated or equal revisions."""
    with pytest.raises(DuetError, match=said):
        commits_between(repository, good, bad)
