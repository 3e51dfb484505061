"""The commit that a run belongs to, asked from a real git repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from perfguard.baselines.machine import commit_info

NOTHING = {"id": "", "branch": "", "dirty": False, "time": ""}

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def _git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()


def test_a_checkout_tells_commit_branch_and_whether_it_changed(tmp_path: Path) -> None:
    """Files that git does not know make no tree dirty; a changed one does, staged or not."""
    _git(tmp_path, "init", "-q", "-b", "trunk")
    assert commit_info(tmp_path) == NOTHING, "no commit yet"
    tracked = tmp_path / "tracked"
    tracked.write_text("1")
    _git(tmp_path, "add", "tracked")
    _git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "untracked").write_text("1")
    head = {
        "id": _git(tmp_path, "rev-parse", "HEAD"),
        "branch": "trunk",
        "dirty": False,
        "time": _git(tmp_path, "log", "-1", "--format=%cI"),
    }
    assert commit_info(tmp_path) == head
    assert commit_info(tracked) == head, "a file stands for its folder"
    tracked.write_text("2")
    assert commit_info(tmp_path) == {**head, "dirty": True}
    _git(tmp_path, "add", "tracked")
    assert commit_info(tmp_path) == {**head, "dirty": True}
    _git(tmp_path, "commit", "-q", "-m", "second")
    _git(tmp_path, "checkout", "-q", "--detach")
    detached = commit_info(tmp_path)
    assert (detached["branch"], detached["dirty"]) == ("", False)
    assert detached["id"] != head["id"]


def test_changes_left_aside_make_no_tree_dirty(tmp_path: Path) -> None:
    """Five updates of baselines in a row are all of one clean commit; a change elsewhere still counts."""
    checkout = tmp_path / "checkout"
    baselines = checkout / "baselines"
    baselines.mkdir(parents=True)
    _git(checkout, "init", "-q")
    for path in (baselines / "stored", checkout / "code"):
        path.write_text("1")
    _git(checkout, "add", ".")
    _git(checkout, "commit", "-q", "-m", "first")
    (baselines / "stored").write_text("2")
    assert commit_info(checkout)["dirty"]
    clean = commit_info(checkout, aside=baselines)
    assert clean["id"]
    assert not clean["dirty"]
    assert not commit_info(baselines, aside=baselines)["dirty"]
    assert commit_info(checkout, aside=tmp_path / "elsewhere")["dirty"]
    (checkout / "code").write_text("2")
    assert commit_info(baselines, aside=baselines)["dirty"]


def test_outside_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor without git on the path; neither is an error."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_info(tmp_path) == NOTHING
    assert commit_info(tmp_path / "missing" / "file") == NOTHING
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_info(Path.cwd()) == NOTHING


def test_a_git_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled network file system must not stall a run."""
    from perfguard.baselines import machine

    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(machine, "TIMEOUT_S", 0.2)
    assert commit_info(tmp_path) == NOTHING
