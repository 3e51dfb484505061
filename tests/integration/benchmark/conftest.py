"""A project with a suite in pytest-benchmark's style, and how to run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


class Project:
    """A folder with tests and an ini file; each run is a pytest process of its own."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.options = options
        self.ini("")

    def ini(self, text: str) -> None:
        (self.path / "pytest.ini").write_text(f"[pytest]\n{text}\n")

    def tests(self, source: str, name: str = "test_suite.py") -> None:
        (self.path / name).write_text(source)

    def run(self, *args: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *self.options, *args]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.path, timeout=120, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def measure(self, *args: str, status: int = 0) -> dict[str, Any]:
        """Run with `--perfguard`; the run document, with what was printed under `output`."""
        options = ("--perfguard", "--perfguard-case-seconds=0.02", "--perfguard-json=run.json")
        output = self.run(*options, *args, status=status)
        document: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        return {**document, "output": output}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Without the plugins that perfguard stands in for, whether they are installed here or not."""
    return Project(tmp_path, "-p", "no:benchmark", "-p", "no:codspeed")
