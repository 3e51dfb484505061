"""Changing baseline files so that nobody's work is lost: one updater at a time, whole files or none.

Updaters are serialised by an advisory lock on the baselines folder itself, so no lock file is left lying
about. An editor knows nothing of that lock, so each file is also compared, right before it is replaced,
with what it was when it was read. A reader sees the old file or the new one, whatever is killed when.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfguard.baselines.reader import SUFFIX, read_bytes
from perfguard.errors import BaselineError

LOCK_TIMEOUT_S = 30.0
_LOCK_POLL_S = 0.01
_TEMPORARY = ".tmp"
# Network file systems that cannot lock a folder; the comparison before the replacement still guards there.
_NO_LOCKS = frozenset({errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
WRITE_ADVICE = "name a folder that you may write to with --perfguard-baselines or --dir"


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file to write: `before` as it was read (None: it did not exist), `after` (None: remove it)."""

    path: Path
    before: bytes | None
    after: bytes | None


@contextlib.contextmanager
def locked(folder: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold `folder` (made if it is missing) against other updaters.

    Raises `BaselineError` if it cannot be made or opened, or is still held by another after `timeout_s`.
    """
    descriptor = -1
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _lock(descriptor, folder, timeout_s):
                _sweep(folder)
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)  # releases the lock, as the end of the process does


def before(path: Path) -> bytes | None:
    """The bytes of a file that is about to be changed, None if there is none yet."""
    return read_bytes(path) if path.exists() else None


def apply(changes: Sequence[FileChange]) -> list[Path]:
    """Make the changes; returns the files touched, sorted. Call it while `locked`.

    All new files are first written out beside their targets, then all targets are compared with `before`, and
    only then replaced: so what can fail (a full disk, a read-only folder, a file changed meanwhile) leaves
    everything as it was. Raises `BaselineError`.
    """
    temporaries: dict[Path, Path] = {}
    try:
        for change in changes:
            if change.after is not None:
                target = _target(change.path)
                temporaries[target] = _write_beside(target, change.after)
        for change in changes:
            if before(change.path) != change.before:
                raise BaselineError(
                    str(change.path),
                    "was changed by someone else during this update",
                    "nothing was written; run the update again",
                )
        for change in changes:
            target = _target(change.path)
            if change.after is None:
                target.unlink()
            else:
                temporaries.pop(target).replace(target)
        for parent in sorted({_target(change.path).parent for change in changes}):
            _fsync_folder(parent)
    except OSError as error:
        culprit = Path(error.filename) if isinstance(error.filename, str) else changes[0].path
        raise _unwritable(culprit, error) from error
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
    return sorted(change.path for change in changes)


def _target(path: Path) -> Path:
    """Where to write: a link to a baseline file stays a link."""
    return path.resolve() if path.is_symlink() else path


def _write_beside(target: Path, content: bytes) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    mode = target.stat().st_mode & 0o777 if target.exists() else None
    # O_CREAT with 0o666 leaves the permissions to the user's umask, as any editor does.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _lock(descriptor: int, folder: Path, timeout_s: float) -> bool:
    """Take the lock; False on a file system that has none."""
    deadline = time.monotonic() + timeout_s
    try:
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise BaselineError(
                    str(folder),
                    f"another process has been updating it for {timeout_s:g} s",
                    "wait for it, or end it",
                )
            time.sleep(_LOCK_POLL_S)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what a killed updater left; nobody else can be writing while the lock is held."""
    for leftover in folder.glob(f"*/.*{SUFFIX}.*{_TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> BaselineError:
    return BaselineError(str(path), f"cannot be written: {error.strerror or error}", WRITE_ADVICE)
