"""A made repository with pull requests, checked out as CI does it, and the steps of our actions run as CI runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TOP = Path(__file__).parents[2]
LIBRARY = '''\
"""A library."""

CALLS = {calls}


def prepare():
    return list(range(50))


def work():
    total = 0
    for i in range({units}):
        total += i * i % 7
    return total
'''
COUNTED = """\
import thing


def test_calls(perfguard):
    perfguard.count("calls", thing.CALLS)
"""
TIMED = """\
import thing


class TestThing:
    def test_work(self, perfguard):
        def request():
            with perfguard.phase("prepare"):
                thing.prepare()
            with perfguard.phase("work"):
                thing.work()

        perfguard(request)
"""
UNITS = 5_000
# A job starts some ten interpreters with pytest: they leave out the plugins that no test of ours is about.
QUICKER = {"PYTEST_ADDOPTS": "-p no:hypothesispytest -p no:anyio -p no:xdist"}


def git(folder: Path, *arguments: str) -> str:
    """What git says in `folder`."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@dataclass(frozen=True)
class Made:
    """A repository with `main` and pull requests; `main` has moved on since they left it."""

    top: Path
    base: str  # where the pull requests left main
    main: str

    def pull_request(self, number: int, calls: int = 7, units: int = UNITS) -> str:
        """Open one: its head as `refs/pull/N/head`, its merge with main as `refs/pull/N/merge`. Returns the head."""
        git(self.top, "checkout", "-q", "-B", f"pr-{number}", self.base)
        (self.top / "src/thing/__init__.py").write_text(LIBRARY.format(calls=calls, units=units))
        git(self.top, "commit", "-q", "-a", "--allow-empty", "-m", "A change")
        head = git(self.top, "rev-parse", "HEAD")
        git(self.top, "update-ref", f"refs/pull/{number}/head", head)
        git(self.top, "checkout", "-q", "--detach", "main")
        git(self.top, "merge", "-q", "--no-ff", "-m", f"Merge {head} into {self.main}", head)
        git(self.top, "update-ref", f"refs/pull/{number}/merge", "HEAD")
        git(self.top, "checkout", "-q", "main")
        return head

    def checked_out(self, folder: Path, ref: str, *depth: str) -> Path:
        """A fresh clone at `ref` as actions/checkout makes it: one commit, detached, unless `depth` says otherwise."""
        folder.mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main")
        git(folder, "remote", "add", "origin", self.top.as_uri())
        git(folder, "fetch", "-q", "--no-tags", *(depth or ("--depth=1",)), "origin", f"+{ref}:refs/remotes/{ref}")
        git(folder, "checkout", "-q", "--force", f"refs/remotes/{ref}")
        return folder


def make(top: Path) -> Made:
    """The repository at `top`."""
    for folder in ("src/thing", "tests/perf"):
        (top / folder).mkdir(parents=True)
    files = {
        "src/thing/__init__.py": LIBRARY.format(calls=7, units=UNITS),
        "tests/perf/test_calls.py": COUNTED,
        "tests/perf/test_work.py": TIMED,
        "pytest.ini": "[pytest]\ntestpaths = tests\npythonpath = src\n",
        ".gitignore": "__pycache__\n.pytest_cache\n",
    }
    for name, text in files.items():
        (top / name).write_text(text)
    git(top, "init", "-q", "-b", "main")
    git(top, "config", "uploadpack.allowAnySHA1InWant", "true")  # as GitHub's servers do
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "A library")
    base = git(top, "rev-parse", "HEAD")
    (top / "notes.txt").write_text("main has moved on\n")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "Notes")
    return Made(top, base, git(top, "rev-parse", "HEAD"))


@dataclass(frozen=True)
class Job:
    """One job of GitHub Actions: its checkout, event and files; `run` runs a step of one of our actions in it."""

    checkout: Path
    scratch: Path
    event: str
    payload: dict[str, Any]
    ref: str
    api: str = "http://127.0.0.1:9"
    repository: str = "team/thing"

    def run(self, action: str, step: str, outputs: dict[str, str] | None = None, **inputs: str) -> Done:
        """Run the step of that name by bash, its `env` filled in from the inputs and their defaults."""
        loaded = yaml.safe_load((TOP / ".github/actions" / action / "action.yml").read_text())
        (found,) = (each for each in loaded["runs"]["steps"] if each["name"] == step)
        given = {name: str(each.get("default", "")) for name, each in loaded["inputs"].items()}
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        assert given.keys() == loaded["inputs"].keys()
        values = {f"inputs.{name}": value for name, value in given.items()}
        values |= {f"steps.gate.outputs.{name}": value for name, value in (outputs or {}).items()}
        env = {
            name: re.sub(r"\$\{\{ (.+?) \}\}", lambda match: values[match[1]], str(text))
            for name, text in found["env"].items()
        }
        script = self.scratch / "step.sh"
        script.write_text(found["run"])
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.checkout,
            env={**self.environment(), **env},
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr, self._read("summary"), self._outputs())

    def environment(self) -> dict[str, str]:
        """What a runner sets, on top of what a plain environment has; the files are empty at the start of a step."""
        event = self.scratch / "event.json"
        event.write_text(json.dumps(self.payload))
        for name in ("summary", "output"):
            (self.scratch / name).write_text("")
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept,
            **QUICKER,
            "TMPDIR": str(self.scratch),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": self.event,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_REF": self.ref,
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_REF_NAME": self.ref.removeprefix("refs/heads/").removeprefix("refs/"),
            "GITHUB_SHA": git(self.checkout, "rev-parse", "HEAD"),
            "GITHUB_API_URL": self.api,
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": "77",
            "GITHUB_STEP_SUMMARY": str(self.scratch / "summary"),
            "GITHUB_OUTPUT": str(self.scratch / "output"),
            "RUNNER_TEMP": str(self.scratch),
        }

    def _read(self, name: str) -> str:
        return (self.scratch / name).read_text()

    def _outputs(self) -> dict[str, str]:
        """Outputs as the runner reads them."""
        found = re.findall(r"^([\w-]+)<<(\S+)\n(.*?)\n\2$", self._read("output"), re.MULTILINE | re.DOTALL)
        return {name: value for name, _, value in found}


@dataclass(frozen=True)
class Done:
    """A step that ended."""

    status: int
    out: str
    err: str
    summary: str
    outputs: dict[str, str]

    def annotations(self) -> list[str]:
        """The lines that the runner takes for annotations: none of those between stop-commands and its token."""
        text = re.sub(r"^::stop-commands::(\w+)$.*?^::\1::$", "", self.out, flags=re.MULTILINE | re.DOTALL)
        return re.findall(r"^::(?:error|warning|notice) .*$", text, re.MULTILINE)


def opened(number: int, head: str, repository: str = "team/thing") -> dict[str, Any]:
    """The payload of a pull request; from a fork if `repository` is another one."""
    return {
        "repository": {"full_name": "team/thing", "default_branch": "main"},
        "pull_request": {
            "number": number,
            "head": {"sha": head, "ref": "a-change", "repo": {"full_name": repository}},
            "base": {"ref": "main", "sha": "0" * 40, "repo": {"full_name": "team/thing"}},
        },
    }


PYTHON = sys.executable
