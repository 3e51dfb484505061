"""Fixtures for tests with live runs: a runtime directory of the test's own, and a run in another process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELPERS = Path(__file__).parent


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private runtime directory; its path is short, as paths of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


class LiveRun:
    """A process with an `EventStream` that does what it is told, one command after the other."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HELPERS / "live_run_process.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid
        self.endpoint = self._read()

    def do(self, command: str) -> str:
        """Give a command and wait for its answer."""
        self.begin(command)
        return self._read()

    def begin(self, command: str) -> None:
        """Give a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")

    def answer(self) -> str:
        """The answer to a command begun."""
        return self._read()

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._process.kill()
        self._process.wait(10)

    def end(self) -> None:
        """Let it end if it still runs; everything is freed."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate(timeout=10)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the run's process has ended"
        return line


@pytest.fixture
def live_run(runtime: Path) -> Iterator[Callable[..., LiveRun]]:
    """Starts live runs; those still there at the end are killed."""
    runs: list[LiveRun] = []

    def start(*arguments: str) -> LiveRun:
        runs.append(LiveRun(*arguments))
        return runs[-1]

    assert os.environ["XDG_RUNTIME_DIR"] == str(runtime)
    yield start
    for run in runs:
        run.end()
