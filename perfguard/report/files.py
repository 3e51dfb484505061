"""Files written whole or not at all, readable by whom the umask lets."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from perfguard.errors import DocumentError


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: a temporary file beside it, flushed to the disk, then renamed.

    What is there and is no ordinary file (a pipe, `/dev/stdout`) is written to as it is. Raises `DocumentError` naming
    the path if it cannot be written.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                file.write(data)
            return
        _replace(path.resolve(), data)
    except OSError as error:
        raise DocumentError(str(path), f"cannot be written: {error}", "choose another path") from error


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
