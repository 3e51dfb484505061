"""Claims about runs that are killed, starved of disk, or pointed at places they may not write."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perfguard.document import load
from perfguard.events import Replay
from perfguard.events.fold import fold

TWO_CASES = """
import pathlib
import time


def test_first(perfguard):
    perfguard(time.sleep, 0.001)


def test_second(perfguard):
    pathlib.Path("reached").touch()
    perfguard(time.sleep, 30)
"""

COMMAND = [sys.executable, "-m", "pytest", "--perfguard", "--perfguard-case-seconds=0.05"]


def started_and_in_the_second_case(folder: Path, *options: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*COMMAND, *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 60
    while not (folder / "reached").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    return process


def test_a_killed_run_leaves_a_recording_that_can_be_read(pytester: pytest.Pytester) -> None:
    """SIGKILL in the middle: the finished case is in the recording, judged, and baselines are untouched."""
    pytester.makepyfile(test_suite=TWO_CASES)
    process = started_and_in_the_second_case(pytester.path, "--perfguard-record=run.pgrun", "--perfguard-update")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    run = fold(Replay(pytester.path / "run.pgrun"))
    first = run.case("test_suite::test_first")
    assert first is not None
    assert first.status == "passed"
    assert first.metrics[0].verdict == "new"
    assert run.finished is None
    assert not (pytester.path / "baselines").exists()


def test_a_full_disk_stops_the_recording_and_not_the_run(pytester: pytest.Pytester) -> None:
    """A recording that cannot be written on (/dev/full) is given up with one line; the run goes on and passes."""
    pytester.makepyfile(test_suite="import time\n\ndef test_it(perfguard):\n    perfguard(time.sleep, 0.001)\n")
    (pytester.path / "full.pgrun").symlink_to("/dev/full")
    done = subprocess.run(
        [*COMMAND, "--perfguard-record=full.pgrun"],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert "full.pgrun" in done.stdout + done.stderr
    assert done.returncode in (0, 4)


def test_baselines_that_cannot_be_written_are_an_error_with_the_path(pytester: pytest.Pytester) -> None:
    """A folder that becomes unwritable during the run: status 4, the path named, the document still written."""
    pytester.makepyfile(
        test_suite="""
        import pathlib
        import time

        def test_it(perfguard):
            pathlib.Path("file").write_text("in the way")
            perfguard(time.sleep, 0.001)
    """
    )
    done = subprocess.run(
        [*COMMAND, "--perfguard-update", "--perfguard-baselines=file/below", "--perfguard-json=run.json"],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4
    assert "file/below" in done.stdout + done.stderr
    assert load(pytester.path / "run.json").cases[0].status == "passed"
    assert "INTERNALERROR" not in done.stdout + done.stderr


def test_an_endpoint_in_use_is_named(pytester: pytest.Pytester) -> None:
    """Two runs on one endpoint: the second ends at once with status 4 and names it; the first goes on."""
    pytester.makepyfile(test_suite=TWO_CASES)
    endpoint = f"--perfguard-live=ipc://{pytester.path}/live"
    first = started_and_in_the_second_case(pytester.path, endpoint)
    try:
        second = subprocess.run(
            [*COMMAND, endpoint], cwd=pytester.path, capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 4
        assert "live" in second.stdout + second.stderr
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate(timeout=30)
