"""Which reader a file needs, found by its content: a name says little."""

from __future__ import annotations

from pathlib import Path

from perfguard.errors import TraceError
from perfguard.traces import kineto, nsys, nsys_csv
from perfguard.traces.model import Trace
from perfguard.traces.scan import open_plain

HEAD_BYTES = 4096
FORMATS = (kineto.FORMAT, nsys.FORMAT, nsys_csv.FORMAT)


def format_of(path: Path) -> str:
    """`kineto`, `nsys` or `nsys-csv`. Raises `TraceError` if it is none, naming what to do."""
    try:
        with open_plain(path) as file:
            head = file.read(HEAD_BYTES)
    except (OSError, EOFError) as error:
        raise TraceError(str(path), f"cannot be read: {error}", "name a trace file") from error
    if head.startswith(nsys.SQLITE_MAGIC):
        return nsys.FORMAT
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"{", b"["):
        return kineto.FORMAT
    if nsys_csv.looks_like(head.decode("utf-8", "replace")):
        return nsys_csv.FORMAT
    if path.suffix in (".nsys-rep", ".qdrep"):
        raise TraceError(str(path), "is a report of Nsight Systems in its own format", nsys.EXPORT_ADVICE)
    raise TraceError(str(path), "is no trace that is known", f"one of {', '.join(FORMATS)}: Chrome JSON, SQLite or CSV")


def read(path: Path, form: str, *, operators: bool = False) -> Trace:
    """The trace in a file of that format, `kineto` or `nsys`."""
    return kineto.read(path, operators=operators) if form == kineto.FORMAT else nsys.read(path)
