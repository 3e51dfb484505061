"""The recorder: a run's frames appended to a `.pgrun` file, complete up to the last flush whatever happens.

The file is opened, locked and emptied once, at the start. Writes are gathered and flushed at every step of a
run (a case begins, changes stage, ends), and otherwise a few hundredths of a second later (`stream` sees to it), so
that what a kill can lose is the last few rounds. A disk that fills up ends the recording, never the run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from perfguard.errors import EventError
from perfguard.events.framing import MAGIC
from perfguard.events.schema import ROUNDS

if TYPE_CHECKING:
    from pathlib import Path

FLUSH_AFTER_NS = 20_000_000
FLUSH_BYTES = 256 * 1024
# All kinds but the numerous ones: each of these is a step that a reader of a cut recording wants to see.
_GATHERED_KINDS = frozenset({"round", ROUNDS, "spans", "metric", "account", "note", "verdict", "machine_noise"})


class Recorder:
    """An open recording. Not thread-safe: `EventStream` calls it under its lock.

    `problem` is None until the recording had to stop; then it says which file, and why. Everything written
    before stays a whole recording. Raises `EventError` naming the path if it cannot be opened, belongs to a
    recording in progress, or holds something that is not a recording (which is then left untouched).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._buffer = bytearray()
        self._written_bytes = 0
        self._flushed_ns = self._since_ns = 0
        self._fd = _open(path)
        self._buffer += MAGIC
        self.flush()

    @property
    def waiting_since_ns(self) -> int | None:
        """When the first came of what is not yet with the operating system; None if all is."""
        return self._since_ns if self._buffer else None

    def append(self, record: bytes, kind: str, t_ns: int) -> None:
        """Take one record (length and frame). Never raises."""
        if self._fd < 0:
            return
        if not self._buffer:
            self._since_ns = t_ns
        self._buffer += record
        if kind not in _GATHERED_KINDS or t_ns - self._flushed_ns > FLUSH_AFTER_NS or len(self._buffer) > FLUSH_BYTES:
            self._flushed_ns = t_ns
            self.flush()

    def flush(self) -> None:
        """Hand all that was gathered to the operating system; on failure recording ends with a `problem`."""
        if self._fd < 0:
            return
        whole_bytes = self._written_bytes
        try:
            while self._buffer:
                # An interrupt between these two lines writes a piece twice at most; pwrite at a position that
                # moves only together with the buffer makes even that harmless.
                count = os.pwrite(self._fd, self._buffer, self._written_bytes)
                self._written_bytes, self._buffer = self._written_bytes + count, self._buffer[count:]
        except OSError as error:
            self.problem = f"{self.path}: recording stopped after {whole_bytes} bytes: {error.strerror}"
            with contextlib.suppress(OSError):  # not a regular file
                os.ftruncate(self._fd, whole_bytes)
            self._drop()

    def close(self) -> None:
        """Flush and let the file go; idempotent."""
        self.flush()
        self._drop()

    def abandon(self) -> None:
        """In a forked child: let go without writing; the file is the parent's."""
        self._buffer.clear()
        self._drop()

    def _drop(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._buffer = bytearray()
            with contextlib.suppress(OSError):  # delayed write errors of network file systems
                os.close(fd)


def _open(path: Path) -> int:
    """A descriptor of the emptied, locked file. Raises `EventError` naming what is in the way."""
    folder = path.parent
    if not folder.is_dir():
        raise EventError(str(folder), f"no such folder to record {path.name} in", "create it first")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        place = str(path if path.exists() else folder)
        raise EventError(place, f"cannot record here: {error.strerror}", "choose another path") from error
    try:
        _claim(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _claim(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise EventError(str(path), "another run is recording to it", "choose another path") from error
    try:
        start = os.pread(fd, len(MAGIC), 0)
        if not start.startswith(MAGIC[:-1]) and not MAGIC.startswith(start):
            raise EventError(str(path), "exists and is not a recording", "it was left as it is")
        if os.fstat(fd).st_size:
            os.ftruncate(fd, 0)
    except OSError as error:
        raise EventError(str(path), f"cannot record here: {error.strerror}", "choose another path") from error
