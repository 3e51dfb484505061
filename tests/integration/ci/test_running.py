"""Claims about the process that a gate runs: shown as it goes, ended in time, and nothing outlives it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import psutil
import pytest

from perfguard.ci.running import TAIL_BYTES, run_shown
from perfguard.errors import CiError

STARTS_ONE_MORE = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
{then}
"""


def run(source: str, timeout_s: float = 60.0) -> tuple[int, str, str]:
    out = io.StringIO()
    status, tail = run_shown([sys.executable, "-c", source], os.environ, timeout_s, out)
    return status, tail, out.getvalue()


def test_all_is_shown_and_the_end_is_kept() -> None:
    """A megabyte of output: shown whole, its last bytes kept, the status passed on, bytes that are no UTF-8 too."""
    status, tail, shown = run(
        "import sys\nfor n in range(100_000): print(n)\n"
        "sys.stdout.flush()\nsys.stdout.buffer.write(b'\\xff')\nsys.exit(7)"
    )
    assert status == 7
    assert shown.startswith("0\n1\n2\n")
    assert shown.endswith("99999\n\ufffd")
    assert len(tail.encode()) <= TAIL_BYTES + 2
    assert shown.endswith(tail)


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """Status -1, the reason in the tail, and the process that it had started is gone too."""
    status, tail, shown = run(STARTS_ONE_MORE.format(then="child.wait()"), timeout_s=2.0)
    assert status == -1
    assert "still running after 2 s" in tail
    assert _gone(int(shown.split()[0]))


def test_what_cannot_be_started_is_named_in_one_line(tmp_path: Path) -> None:
    """An interpreter that is not there, or that is a folder."""
    for python in (tmp_path / "no-python", tmp_path):
        with pytest.raises(CiError, match=rf"^{python}: cannot be started: .*--python") as caught:
            run_shown([str(python), "-c", ""], os.environ, 60.0, io.StringIO())
        assert "\n" not in str(caught.value)


def test_what_is_left_running_behind_is_ended(tmp_path: Path) -> None:
    """A command that ends by itself and leaves a process that holds its output open."""
    status, _, shown = run(STARTS_ONE_MORE.format(then="sys.exit(0)"))
    assert status == 0
    assert _gone(int(shown.split()[0]))


def _gone(pid: int) -> bool:
    """Whether a process is over, or will be within a moment: it was killed, and its parent may not have waited yet."""
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or process.wait(30) is None
    except psutil.NoSuchProcess:
        return True
