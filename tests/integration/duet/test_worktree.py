"""Claims about the other revision's checkout, on real git repositories."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from perfguard.duet.worktree import PREFIX, remove_orphans, top_of, worktree
from perfguard.errors import DuetError


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of two commits, and a temporary folder of its own."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    top = tmp_path / "project"
    top.mkdir()
    git(top, "init", "-q", "-b", "main")
    for content in ("one", "two"):
        (top / "file").write_text(content)
        git(top, "add", ".")
        git(top, "commit", "-q", "-m", content)
    return top


def test_a_revision_is_there_for_the_time_of_the_context(repository: Path) -> None:
    """The revision's files are checked out elsewhere, and nothing is left, neither on disk nor in git's list."""
    with worktree(repository, "HEAD~1") as checkout:
        assert (checkout.root / "file").read_text() == "one"
        assert (repository / "file").read_text() == "two"
        assert checkout.name.startswith("HEAD~1 (")
    assert not checkout.root.exists()
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_an_error_inside_leaves_nothing_either(repository: Path) -> None:
    """The worktree goes also when the run inside fails."""
    with pytest.raises(KeyError), worktree(repository, "main"):
        raise KeyError
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


@pytest.mark.parametrize("revision", ["no-such-branch", "HEAD~9", "--help", ""])
def test_what_is_no_revision_is_named(repository: Path, revision: str) -> None:
    """An unknown revision is an error with its name; an option in disguise is not handed to git."""
    with pytest.raises(DuetError, match=revision or "revision"), worktree(repository, revision):
        pass
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_outside_a_repository_it_says_so(tmp_path: Path) -> None:
    """A folder that is in no checkout cannot be compared with a revision."""
    with pytest.raises(DuetError, match=r"git|repository"):
        top_of(tmp_path)


def test_the_next_run_removes_what_a_killed_one_left(repository: Path) -> None:
    """Worktrees of processes that are gone are removed; those of living ones stay."""
    code = (
        "import os, sys, tempfile, pathlib; tempfile.tempdir = sys.argv[2]\n"
        "from perfguard.duet.worktree import worktree\n"
        "with worktree(pathlib.Path(sys.argv[1]), 'main'):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(repository), tempfile.gettempdir()], check=False)
    (left,) = Path(tempfile.gettempdir()).iterdir()
    assert left.name.startswith(PREFIX)
    with worktree(repository, "main") as alive:
        assert not left.exists()
        assert remove_orphans(repository) == []
        assert alive.root.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1
