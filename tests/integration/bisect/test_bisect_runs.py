"""Claims about `perfguard bisect` as a user calls it: real repositories, real duets, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from made_history import COUNTED, MadeHistory

CALLS = "tests/test_perf.py::test_calls"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


class Project:
    """A made repository, and the command line in it with a scratch folder of its own."""

    def __init__(self, folder: Path, history: MadeHistory) -> None:
        self.top, self.scratch = folder / "project", folder / "scratch"
        self.scratch.mkdir()
        history.write(self.top)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "perfguard.cli", "bisect", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        # The user's own path names the checkout: the worktrees must not import from there.
        return {**os.environ, "TMPDIR": str(self.scratch), "PYTHONPATH": str(self.top / "src")}

    def run(
        self, *arguments: str, status: int = 0, below: str = ".", untouched: list[str] | None = None
    ) -> tuple[dict[str, Any], str]:
        """The JSON that was written, {} for none, and what was printed.

        Nothing may be left, and the state be `untouched`: as it was before, unless said otherwise.
        """
        before, file = untouched or self.state(), self.scratch / "found.json"
        done = subprocess.run(
            self.command("--json", str(file), *arguments),
            cwd=self.top / below,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        text = done.stdout + done.stderr
        assert done.returncode == status, text
        assert self.state() == before
        assert list(self.scratch.glob("perfguard-duet-*")) == []
        document = json.loads(file.read_text()) if file.exists() else {}
        file.unlink(missing_ok=True)
        return document, text

    def state(self) -> list[str]:
        """All that a bisect must leave as it is: branch, commit, index, files, git's own bisect, worktrees."""
        questions = (
            ["rev-parse", "--symbolic-full-name", "HEAD"],
            ["rev-parse", "HEAD"],
            ["diff", "--cached"],
            ["diff"],
            ["status", "--porcelain"],
            ["for-each-ref"],
            ["worktree", "list"],
        )
        log = self.top / ".git" / "BISECT_LOG"
        return [*(git(self.top, *question) for question in questions), log.read_text() if log.exists() else ""]

    def id_of(self, number: int) -> str:
        return git(self.top, "rev-parse", f"c{number}")


@pytest.fixture
def counted(tmp_path: Path) -> Project:
    """Four commits, the third of which makes one call more."""
    return Project(tmp_path, MadeHistory(4, slower=3, tests=COUNTED))


def busy(project: Project) -> None:
    """The user is in the middle of things: a bisect of their own, a staged and an unstaged change."""
    git(project.top, "bisect", "start", "main", "c1")
    (project.top / "staged.txt").write_text("staged\n")
    git(project.top, "add", "staged.txt")
    (project.top / "src" / "thing" / "__init__.py").write_text("CALLS = 99\n")


def test_one_commit_of_four_is_found(counted: Project) -> None:
    """The user in the middle of things: the commit, its message and the change; all is left as it was."""
    busy(counted)
    document, text = counted.run("c1", "main", "--", CALLS)
    assert (document["conclusion"], document["first_slower"]) == ("found", counted.id_of(3))
    assert document["neighbours"]["against"] == counted.id_of(2)
    assert "calls: 7 -> 8 (exact)" in text


@pytest.mark.parametrize(
    ("commits", "slower", "broken", "lacking", "steps"),
    [(16, 11, 8, 9, 4), (64, 41, 32, 39, 6)],
)
@pytest.mark.long
def test_one_commit_is_found_among_broken_ones(
    tmp_path: Path, commits: int, slower: int, broken: int, lacking: int, steps: int
) -> None:
    """As many steps as doublings, and the skips; a broken commit and one without the case are skipped, and why."""
    history = MadeHistory(commits, slower=slower, broken={broken}, lacking={lacking}, tests=COUNTED)
    project = Project(tmp_path, history)
    busy(project)
    document, text = project.run("c1", "main", "--", CALLS)
    assert (document["conclusion"], document["first_slower"]) == ("found", project.id_of(slower))
    skipped = {step["commit"]: step["reason"] for step in document["steps"] if step["answer"] == "skip"}
    assert skipped.keys() == {project.id_of(broken), project.id_of(lacking)}
    assert "SyntaxError" in skipped[project.id_of(broken)]
    assert skipped[project.id_of(lacking)] == "the case is missing"
    assert len(document["steps"]) <= steps + len(skipped) + 1
    assert (document["neighbours"]["commit"], document["neighbours"]["against"]) == (
        project.id_of(slower),
        project.id_of(slower - 1),
    )
    assert "Do more" in text
    assert "calls: 7 -> 8 (exact)" in text


@pytest.mark.long
def test_a_slower_commit_is_found_with_its_phase(tmp_path: Path) -> None:
    """Twice the work, measured: the commit and the phase that did it, or on a busy machine that it cannot be told."""
    project = Project(tmp_path, MadeHistory(3, slower=2, factor=2.0))
    command = project.command(
        "c1", "main", "--alpha=20%", "--limit=30%", "--json=-", "--", "tests/test_perf.py::test_work"
    )
    done = subprocess.run(
        command, cwd=project.top, env=project.environment, capture_output=True, text=True, timeout=600, check=False
    )
    document = json.loads(done.stdout)
    assert document["conclusion"] in ("found", "range", "noisy")
    assert done.returncode == (0 if document["conclusion"] == "found" else 1)
    if document["conclusion"] == "noisy":
        return
    assert project.id_of(2) in document["suspects"]
    change = document["neighbours"]["change"]
    assert change["phases"][0]["path"] == "work"
    assert change["phases"][0]["share"] > 0.9


@pytest.mark.long
def test_a_commit_that_cannot_be_built_leaves_a_range(counted: Project) -> None:
    """`--build` runs in each worktree; from a subfolder; what the skipped commit hides is said, exit 1."""
    document, text = counted.run(
        "c1", "c4", "--build", "! grep -q 'note 3' src/thing/__init__.py", "--", "test_perf.py::test_calls",
        status=1, below="tests",
    )  # fmt: skip
    assert document["conclusion"] == "range"
    assert document["suspects"] == [counted.id_of(3), counted.id_of(4)]
    assert "cannot be built: status 1" in text
    assert "one of these 2" in text


def test_ends_without_difference_are_said_to_be_the_same(counted: Project) -> None:
    """Exit 1, and no search; a case named by its absolute path is the same case."""
    document, text = counted.run("c1", "c2", "--", str(counted.top / CALLS), status=1)
    assert (document["conclusion"], document["steps"]) == ("not slower", [])
    assert "c2 is not slower than c1" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["c1", "c4"], "CASE"),
        (["c1", "c4", "--", "-k", "calls"], "no case"),
        (["c1", "no-such", "--", CALLS], "no-such"),
        (["c4", "c1", "--", CALLS], "other way round"),
        (["c1", "c4", "--", "tests/test_perf.py::test_nothing"], r"c1 ("),
        (["c1", "c4", "--", "tests/no_file.py"], "the case is missing"),
        (["c1", "c4", "--alpha", "2", "--", CALLS], "--alpha"),
        (["c1", "c4", "--seconds", "soon", "--", CALLS], "--seconds"),
        (["c1", "c4", "--limit", "much", "--", CALLS], "--limit"),
        (["c1", "c4", "--metric", "speed", "--", CALLS], "no gated 'speed'"),
        (["c1", "c4", "--build", "exit 3", "--", CALLS], "cannot be built: status 3"),
    ],
)
def test_what_cannot_be_searched_is_named(counted: Project, arguments: list[str], said: str) -> None:
    """Exit 4 and the culprit: revisions, cases, options."""
    _, text = counted.run(*arguments, status=4)
    assert said in text


def test_a_case_that_bad_lacks_is_an_error(tmp_path: Path) -> None:
    """It is not skipped: without the end there is nothing to search for."""
    project = Project(tmp_path, MadeHistory(4, slower=3, lacking={4}, tests=COUNTED))
    _, text = project.run("c1", "c4", "--", CALLS, status=4)
    assert f"BAD ({project.id_of(4)[:9]})" in text
    assert "the case is missing" in text


def test_code_imported_from_the_checkout_is_refused(tmp_path: Path) -> None:
    """Where the tests themselves put the checkout on the path, both sides would measure the same code."""
    tests = f"import sys\nsys.path.insert(0, {str(tmp_path / 'project' / 'src')!r})\n" + COUNTED
    project = Project(tmp_path, MadeHistory(4, slower=3, tests=tests))
    _, text = project.run("c1", "c4", "--", CALLS, status=4)
    assert "imported modules of another tree: thing" in text


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
def test_a_stopped_bisect_leaves_no_process_and_the_next_no_worktree(tmp_path: Path, how: signal.Signals) -> None:
    """After Ctrl-C nothing is left; after SIGKILL no process lives on, and the next run removes the worktrees."""
    project = Project(tmp_path, MadeHistory(3, slower=2))
    before = project.state()
    process = subprocess.Popen(
        project.command("c1", "main", "--", "tests/test_perf.py::test_work"),
        cwd=project.top,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    began = psutil.Process(process.pid)
    while len(children := began.children(recursive=True)) < 3:  # pytest and both workers
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    process.wait(60)
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert (len(gone), alive) == (len(children), [])
    if how == signal.SIGINT:
        assert process.returncode == 2
    else:
        project.run("c1", "c2", "--", "tests/no_file.py", status=4, untouched=before)
    assert list(project.scratch.glob("perfguard-duet-*")) == []
    assert project.state() == before
