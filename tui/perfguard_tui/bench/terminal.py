"""A process in a pseudo-terminal of 120 x 40, read all the time as a terminal would, and typed to."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

import psutil

_TAIL = 1 << 16


class Terminal:
    """`command` in a terminal. `output` is the latest 64 KiB of what it wrote; `wrote` how many bytes in all."""

    def __init__(self, command: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        # A size in the environment would be believed before the terminal's own.
        environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.began_s = time.monotonic()
        self._process = subprocess.Popen(
            list(command), stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True
        )
        os.close(slave)
        self.output = b""
        self.wrote = 0

    @property
    def process(self) -> psutil.Process:
        """What psutil knows of it."""
        return psutil.Process(self._process.pid)

    def type(self, keys: bytes) -> None:
        """Press keys; what was written before is forgotten."""
        self.output = b""
        os.write(self._master, keys)

    def read(self, seconds: float) -> None:
        """Read for so long."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._read(left_s)

    def wait_for(self, text: bytes, timeout_s: float) -> float:
        """Seconds until `text` has been written. Raises `TimeoutError`."""
        begin_s = time.monotonic()
        while text not in self.output:
            if time.monotonic() - begin_s > timeout_s:
                raise TimeoutError(f"{text!r} was not shown within {timeout_s} s; at the end {self.output[-300:]!r}")
            self._read(0.5)
        return time.monotonic() - begin_s

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        os.close(self._master)

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            piece = os.read(self._master, 65536)
            self.wrote += len(piece)
            self.output = (self.output + piece)[-_TAIL:]
