"""Other programs: what one prints, asked quickly; and one with all that it started, ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence

END_TIMEOUT_S = 30.0


def output_of(command: Sequence[str], timeout_s: float) -> str:
    """What a command prints, or "" if it is missing, fails or takes longer than `timeout_s`."""
    executable = shutil.which(command[0])
    if executable is None:
        return ""
    try:
        done = subprocess.run(
            [executable, *command[1:]],
            capture_output=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            # Reading the state of a checkout must not take its index lock from under a commit.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process that leads its own session, wait until it has cleaned up, and kill what does not go."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT_S)
