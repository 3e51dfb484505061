"""A server process's first words: one JSON line on its standard output, or why there is none."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from time import perf_counter
from typing import IO, Any

_LINE_BYTES = 64 * 1024
_COMPLAINT_BYTES = 4000
_END_S = 5.0


class NotReadyError(Exception):
    """The process did not come up. `problem`: what was seen; `said`: what it wrote to its standard error."""

    def __init__(self, problem: str, said: str) -> None:
        super().__init__(f"{problem}; {said}")
        self.problem = problem
        self.said = said


def first_words(process: subprocess.Popen[bytes], key: str, timeout_s: float, complaints: IO[bytes]) -> Any:
    """What the line says under `key`. The process was started with a pipe for its output, `complaints` for its errors.

    Raises `NotReadyError`; ending the process is the caller's affair either way.
    """
    deadline_s = perf_counter() + timeout_s
    line = b""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left_s = deadline_s - perf_counter()
            if left_s <= 0 or not selector.select(left_s):
                raise _not_ready(f"did not start within {timeout_s} s", complaints)
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                raise _not_ready(f"ended with {_status(process)} before it was ready", complaints)
            line += chunk
            if len(line) > _LINE_BYTES:
                raise _not_ready(f"printed more than {_LINE_BYTES} bytes and no line", complaints)
    try:
        return json.loads(line)[key]
    except (ValueError, KeyError, TypeError) as error:
        raise _not_ready(f"printed {line!r:.200} instead of its {key}", complaints) from error


def _status(process: subprocess.Popen[bytes]) -> str:
    try:
        return f"status {process.wait(_END_S)}"
    except subprocess.TimeoutExpired:
        return "its output closed"


def _not_ready(problem: str, complaints: IO[bytes]) -> NotReadyError:
    complaints.seek(max(complaints.seek(0, os.SEEK_END) - _COMPLAINT_BYTES, 0))
    said = complaints.read().decode(errors="replace").strip()
    return NotReadyError(problem, f"it said: {said or 'nothing'}")
