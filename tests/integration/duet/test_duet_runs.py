"""Claims about `pytest --perfguard --perfguard-against`, on made repositories with a `src/` layout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

LIBRARY = """
import time


def serve():
    time.sleep({ms} / 1000)


CALLS = {calls}
"""

TESTS = """
import pathlib

import thing


def test_serve(perfguard):
    def request():
        with perfguard.phase("parse"):
            sum(range(100))
        with perfguard.phase("serve"):
            thing.serve()

    perfguard(request)
    perfguard.count("calls", thing.CALLS)
"""


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


class Project:
    """A repository whose first commit is the reference, and pytest in it with a scratch folder of its own."""

    def __init__(self, top: Path, scratch: Path) -> None:
        self.top = top
        self.scratch = scratch

    def write(self, ms: float = 1, calls: int = 7, tests: str = TESTS) -> None:
        (self.top / "src" / "thing").mkdir(parents=True, exist_ok=True)
        (self.top / "tests").mkdir(exist_ok=True)
        (self.top / "src" / "thing" / "__init__.py").write_text(LIBRARY.format(ms=ms, calls=calls))
        (self.top / "tests" / "test_perf.py").write_text(tests)

    def commit(self) -> None:
        git(self.top, "add", "-A")
        git(self.top, "commit", "-q", "-m", "a commit")

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "--perfguard", "--perfguard-json=run.json", *options]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.scratch), "PYTHONPATH": "src"}

    def run(self, *options: str, status: int = 0) -> tuple[dict[str, Any], str]:
        done = subprocess.run(
            self.command(*options),
            cwd=self.top,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert list(self.scratch.glob("perfguard-duet-*")) == []
        assert len(git(self.top, "worktree", "list").splitlines()) == 1
        file = self.top / "run.json"
        return json.loads(file.read_text()) if file.exists() else {}, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    top, scratch = tmp_path / "project", tmp_path / "scratch"
    top.mkdir()
    scratch.mkdir()
    git(top, "init", "-q", "-b", "main")
    (top / ".gitignore").write_text("__pycache__\nrun.json\n.pytest_cache\n")
    (top / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    made = Project(top, scratch)
    made.write()
    made.commit()
    return made


def metrics(document: dict[str, Any]) -> dict[str, Any]:
    (case,) = document["cases"]
    return {m["name"]: m for m in case["metrics"]}


def test_a_slower_working_tree_is_found_with_its_phase(project: Project) -> None:
    """Uncommitted changes are the new side: 1 ms become 2, exit 1, the phase named with over 90 % of the change."""
    project.write(ms=2)
    document, text = project.run(
        "--perfguard-against=HEAD", "--perfguard-seconds=120", "--perfguard-alpha=10%", status=1
    )
    found = metrics(document)["time"]
    assert found["verdict"] == "slower"
    assert 1.3 < found["change"]["ratio"] < 3
    assert found["change"]["phases"][0]["path"] == "serve"
    assert found["change"]["phases"][0]["share"] > 0.9
    assert found["baseline"]["source"].startswith("HEAD (")
    assert found["n"] == found["baseline"]["process_runs"] >= 5
    assert "serve +" in text


def test_one_more_call_is_slower_and_the_same_time_is_not(project: Project) -> None:
    """Exact counts are compared across revisions by equality."""
    project.write(calls=8)
    document, _ = project.run("--perfguard-against=HEAD", "--perfguard-seconds=8", status=1)
    assert metrics(document)["calls"]["verdict"] == "slower"
    assert metrics(document)["time"]["verdict"] in ("same", "noisy")


def test_the_same_code_is_not_slower_and_says_what_it_could_see(project: Project) -> None:
    """No change: exit 0, and the report says how small a change would have been seen."""
    document, text = project.run("--perfguard-against=HEAD", "--perfguard-seconds=8")
    assert metrics(document)["time"]["verdict"] in ("same", "noisy")
    assert "restarts a side" in text


def test_cases_on_one_side_only_are_new_or_missing(project: Project) -> None:
    """A case that the revision does not have is new; one that only it has is listed as missing."""
    project.write(tests=TESTS.replace("test_serve", "test_renamed"))
    document, text = project.run("--perfguard-against=HEAD", "--perfguard-seconds=5")
    assert set(document["gate"]["missing"]) == {"test_perf::test_serve", "tests/test_perf.py::test_renamed"}
    assert "no such case" in text


def test_a_revision_that_cannot_be_imported_is_named_with_its_traceback(project: Project) -> None:
    """A broken revision ends the run with status 4, its name and the error of the import."""
    project.write(tests="import no_such_module\n" + TESTS)
    project.commit()
    project.write()
    _, text = project.run("--perfguard-against=HEAD", status=4)
    assert "HEAD (" in text
    assert "no_such_module" in text


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        (["--perfguard-against=no-such-branch"], "no-such-branch"),
        (["--perfguard-against-path=no-such-folder"], "no-such-folder"),
        (["--perfguard-against=HEAD", "--perfguard-duet=both"], "both"),
        (["--perfguard-against=HEAD", "--perfguard-alpha=2"], "--perfguard-alpha"),
        (["--perfguard-against=HEAD", "--perfguard-limit=much"], "--perfguard-limit"),
    ],
)
def test_what_cannot_be_compared_is_named(project: Project, options: list[str], culprit: str) -> None:
    """Unknown revisions, folders and words are errors with status 4."""
    _, text = project.run(*options, status=4)
    assert culprit in text


def test_a_project_may_be_strict_about_warnings_and_set_up_its_report(project: Project) -> None:
    """Workers accept warnings as errors, and options of the terminal report in `addopts` and on the command line."""
    settings = "[pytest]\ntestpaths = tests\nfilterwarnings = error\naddopts = -ra --color=yes\n"
    (project.top / "pytest.ini").write_text(settings)
    project.write(tests="import thing\n\ndef test_calls(perfguard):\n    perfguard.count('calls', thing.CALLS)\n")
    project.commit()
    document, _ = project.run("--perfguard-against=HEAD", "--no-header", "--color=no")
    assert metrics(document)["calls"]["verdict"] == "same"


def test_two_checkouts_are_compared(project: Project, tmp_path: Path) -> None:
    """--perfguard-against-path compares with another folder; each side imports its own code."""
    git(tmp_path, "clone", "-q", str(project.top), str(tmp_path / "other"))
    project.write(calls=9)
    document, _ = project.run(f"--perfguard-against-path={tmp_path / 'other'}", "--perfguard-seconds=5", status=1)
    found = metrics(document)["calls"]
    assert (found["median"], found["baseline"]["median"]) == (9, 7)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_duet_leaves_no_process_and_the_next_run_no_worktree(project: Project, how: signal.Signals) -> None:
    """After Ctrl-C nothing is left; after SIGKILL no worker lives on and the next run removes the worktree."""
    marker = project.top / "pids"
    project.write(
        tests="import os, pathlib\n"
        + TESTS.replace(
            "    def request",
            f"    with open({str(marker)!r}, 'a') as f: f.write(f'{{os.getpid()}}\\n')\n\n    def request",
            1,
        )
    )
    project.commit()
    process = subprocess.Popen(
        project.command("--perfguard-against=HEAD", "--perfguard-seconds=100"),
        cwd=project.top,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not marker.exists() or len(marker.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    process.wait(30)
    workers = {int(pid) for pid in marker.read_text().split()}
    while any(
        Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" for pid in workers
    ):
        assert time.monotonic() < deadline + 30
        time.sleep(0.02)
    if how == signal.SIGINT:
        assert process.returncode == 2
        assert list(project.scratch.glob("perfguard-duet-*")) == []
    else:
        project.run("--perfguard-against=HEAD", "--perfguard-seconds=3")


FAILING = """
import pathlib

CALLS = []


def test_serve(perfguard):
    def request():
        CALLS.append(1)
        if len(CALLS) == {at}:
            raise RuntimeError("the pool is empty")

    perfguard(request)
"""


def test_a_case_that_fails_while_timed_is_broken_and_holds_nobody_up(project: Project) -> None:
    """The new side raises in the middle of its blocks: the run ends, says so, and leaves no worker."""
    project.write(tests=FAILING.format(at=0))
    project.commit()
    project.write(tests=FAILING.format(at=4000))
    document, text = project.run("--perfguard-against=HEAD", status=1)
    (case,) = document["cases"]
    assert case["status"] == "failed"
    assert {metric["verdict"] for metric in case["metrics"]} <= {"broken"}
    assert "the pool is empty" in text


TWO = """
import thing


def test_serve(perfguard):
    perfguard(thing.serve)
    perfguard.count("calls", thing.CALLS)


def test_other(perfguard):
    perfguard.count("calls", 3)
"""
NEITHER = """
import thing


def test_serve(perfguard):
    perfguard.count("lookups", 2)


def test_newer(perfguard):
    perfguard(thing.serve)
"""


def test_what_only_one_side_has_is_new_or_missing_and_nothing_waits_for_it(project: Project) -> None:
    """A case and a metric that came, a case and two metrics that went: said, measured once, and failed on if asked."""
    project.write(tests=TWO)
    project.commit()
    project.write(tests=NEITHER)
    document, text = project.run(
        "--perfguard-against=HEAD", "--perfguard-seconds=8", "--perfguard-fail-on=missing", status=1
    )
    cases = {case["key"].split("::")[1]: case for case in document["cases"]}
    assert {m["name"]: m["verdict"] for m in cases["test_newer"]["metrics"]} == {"time": "new"}
    assert {m["name"]: m["verdict"] for m in cases["test_serve"]["metrics"]} == {"lookups": "new"}
    assert "no longer measured: calls, time" in " ".join(cases["test_serve"]["notes"])
    assert any("test_other" in key for key in document["gate"]["missing"])
    assert "new: HEAD" in text
