"""One program run to its end: what it prints goes on at once, its last lines are kept, and it does not outlive us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import TextIO

from perfguard.errors import CiError
from perfguard.programs import END_TIMEOUT_S, end

TAIL_BYTES = 20_000


def run_shown(command: Sequence[str], environment: Mapping[str, str], timeout_s: float, out: TextIO) -> tuple[int, str]:
    """Run a command; its exit status and the end of what it printed. After `timeout_s` it is ended: status -1.

    Output is read as it comes and written to `out`. The command has a session of its own, so that Ctrl-C reaches only
    us and is passed on once, and so that whatever it started ends with it. Raises `CiError` if it cannot be started.
    """
    try:
        process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise CiError(command[0], f"cannot be started: {error.strerror or error}", "--python names another") from error
    tail = _Tail(process, out)
    late = ""
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        status, late = -1, f"\nstill running after {timeout_s:.0f} s, and ended\n"
    finally:
        end(process)
        with contextlib.suppress(ProcessLookupError):  # what it left running, which would keep our pipe open
            os.killpg(process.pid, signal.SIGKILL)
        tail.finish()
    return status, tail.text + late


class _Tail:
    """Reads a process's output in a thread of its own, passes it on, and keeps the end of it."""

    def __init__(self, process: subprocess.Popen[bytes], out: TextIO) -> None:
        assert process.stdout is not None
        self._pipe = process.stdout
        self._out = out
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """The last bytes, as text."""
        return bytes(self._kept[-TAIL_BYTES:]).decode(errors="replace")

    def finish(self) -> None:
        """Wait for the last of it; a descendant that keeps the pipe open is not waited for."""
        self._thread.join(END_TIMEOUT_S)
        if not self._thread.is_alive():
            self._pipe.close()

    def _read(self) -> None:
        listening = True
        for line in iter(lambda: self._pipe.readline(65_536), b""):
            self._kept += line
            try:
                if listening:
                    self._out.write(line.decode(errors="replace"))
                    self._out.flush()
            except (OSError, ValueError):  # whoever read us has gone; the command may go on talking
                listening = False
            if len(self._kept) > 4 * TAIL_BYTES:
                del self._kept[:-TAIL_BYTES]
