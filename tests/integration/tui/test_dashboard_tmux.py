"""From one end to the other: a real run of pytest, in the dashboard that started it, in a terminal of tmux."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TIMEOUT_S = 60
SUITE = """
import pytest

@pytest.mark.parametrize("size", [1000, 2000, 4000])
def test_sum(perfguard, size):
    def call():
        with perfguard.phase("add"):
            return sum(range(size))
    perfguard(call)
"""

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Tmux:
    """A server of its own, so that nobody's sessions are touched."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux.sock")
        # A size in the environment would be believed before the terminal's own.
        self._environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
            env=self._environ,
        )
        return done.stdout

    def wait_for(self, test: Callable[[str], bool]) -> str:
        """The screen as soon as it passes."""
        deadline_s = time.monotonic() + TIMEOUT_S
        screen = ""
        while time.monotonic() < deadline_s:
            screen = self("capture-pane", "-p", "-t", "d")
            if test(screen):
                return screen
            time.sleep(0.1)
        raise AssertionError(screen)


@pytest.fixture
def tmux(runtime: Path) -> Iterator[Tmux]:
    server = Tmux(runtime)
    yield server
    subprocess.run(["tmux", "-S", server._socket, "kill-server"], check=False, capture_output=True, timeout=20)


def test_a_real_run_in_a_real_terminal(tmp_path: Path, tmux: Tmux) -> None:
    """Started, watched to its end, looked into, left with q: the report is printed, the status is pytest's."""
    (tmp_path / "test_it.py").write_text(SUITE, encoding="utf-8")
    run = [sys.executable, "-m", "pytest", "--perfguard", "--perfguard-profile=quick", "-p", "no:cacheprovider", "-q"]
    dashboard = [sys.executable, "-m", "perfguard_tui", "--", *run, "test_it.py"]
    command = f"cd {shlex.quote(str(tmp_path))} && {shlex.join(dashboard)}; echo status $?; sleep 60"
    tmux("-f", "/dev/null", "new-session", "-d", "-s", "d", "-x", "120", "-y", "40", "sh", "-c", command)
    screen = tmux.wait_for(lambda text: "■ finished" in text and "3/3 cases" in text)
    assert "gate passed" in screen
    tmux("send-keys", "-t", "d", "g", "Enter")
    screen = tmux.wait_for(lambda text: "samples in order" in text)
    assert "add" in screen
    assert "unaccounted" in screen
    tmux("send-keys", "-t", "d", "6")
    tmux.wait_for(lambda text: "a clock reading" in text)
    tmux("resize-window", "-t", "d", "-x", "80", "-y", "24")
    tmux("send-keys", "-t", "d", "1")
    tmux.wait_for(lambda text: "sum[1000]" in text and "? help" in text)
    tmux("send-keys", "-t", "d", "q")
    tmux.wait_for(lambda text: "status 0" in text and "3 passed" in text)
