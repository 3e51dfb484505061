"""JSON traces read event by event, in memory that does not grow with the file.

The C scanner of the standard library decodes one event at a time out of a window of text. Floats stay the text that
the file holds, so that nanoseconds in a `ts` of microseconds since 1970 survive: a float64 keeps a quarter of one.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from perfguard.errors import TraceError

CHUNK_BYTES = 4 * 1024 * 1024
# One event, or one entry of the metadata, larger than this is no trace.
MAX_ITEM_CHARS = 64 * 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"
MAX_NUMBER_CHARS = 64
EVENTS = "traceEvents"
KEPT = frozenset({"deviceProperties", "distributedInfo"})
ADVICE = "export the trace again: torch.profiler's export_chrome_trace writes such a file"

_DELIMITERS = frozenset(" \t\r\n,]}")
_SPACE = re.compile(r"[ \t\r\n]*")
_BETWEEN = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=[^ \t\r\n])")
# Undocumented, and stable since Python 2.6: decodes one value at a position, in C.
_SCAN: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder(parse_float=str, strict=False))["scan_once"]


def open_plain(path: Path) -> BinaryIO:
    """The bytes of `path`, decompressed if it is gzip by content, whatever its name says."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
        return cast("BinaryIO", gzip.open(path, "rb")) if packed else path.open("rb")
    except OSError as error:
        raise TraceError(str(path), f"cannot be read: {error.strerror or error}", "name a readable file") from error


class Scanner:
    """Walks one trace file: `events()` yields the events, and fills `metadata` with what stands beside them.

    `metadata` is complete once the events are exhausted: some writers put the base time after them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.seen = 0
        self._text = ""
        self._at = 0
        self._ended = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._file: BinaryIO | None = None

    def events(self) -> Iterator[Any]:
        """Each event as decoded JSON, with floats as text. Raises `TraceError` where the file ends early or breaks."""
        with open_plain(self.path) as self._file:
            self._text = ""
            opening = self._next_mark()
            if opening == "[":
                yield from self._array()
            elif opening == "{":
                yield from self._object()
            else:
                raise TraceError(str(self.path), "is no JSON trace", ADVICE)
            self._finish()

    def _finish(self) -> None:
        """Read to the end: a checksum stands there."""
        while True:
            self._at = len(self._text) - len(self._text[self._at :].lstrip(" \t\r\n"))
            if self._at < len(self._text):
                raise self._broken("it goes on behind its end")
            if not self._more():
                return

    def _object(self) -> Iterator[Any]:
        found = False
        mark = self._next_mark()
        while mark != "}":
            if mark == '"':
                self._at -= 1
                key = self._value()
            else:
                raise self._broken("a key is missing")
            if self._next_mark() != ":":
                raise self._broken(f"no value after {str(key)[:40]!r}")
            if key == EVENTS:
                if self._next_mark() != "[":
                    raise self._broken(f"{EVENTS} is no list")
                found = True
                yield from self._array()
            else:
                value = self._value()
                if key in KEPT:
                    self.metadata[str(key)] = value
            mark = self._next_mark()
            if mark == ",":
                mark = self._next_mark()
            elif mark != "}":
                raise self._broken("a comma is missing")
        if not found:
            raise TraceError(str(self.path), f"is JSON without {EVENTS!r}", ADVICE)

    def _array(self) -> Iterator[Any]:
        mark = self._next_mark()
        if mark == "]":
            return
        self._at -= 1
        while True:
            yield from self._run()
            yield self._value()
            self.seen += 1
            mark = self._next_mark()
            if mark == "]":
                return
            if mark != ",":
                raise self._broken("a comma is missing between events")

    def _run(self) -> Iterator[Any]:
        """The events that lie wholly in the window with a comma behind them: nearly all, by the shortest way."""
        self._next_mark()
        self._at -= 1
        text, between, scan = self._text, _BETWEEN.match, _SCAN
        while True:
            try:
                value, end = scan(text, self._at)
            except (StopIteration, ValueError, RecursionError):
                return
            comma = between(text, end)
            if comma is None:
                return
            self._at = comma.end()
            self.seen += 1
            yield value

    def _next_mark(self) -> str:
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                self._at += 1
                return self._text[self._at - 1]
            if not self._more():
                raise self._truncated()

    def _value(self) -> Any:
        """The value that starts at the window's position, after any space."""
        self._next_mark()
        self._at -= 1
        while True:
            try:
                value, end = _SCAN(self._text, self._at)
            except (StopIteration, ValueError) as error:
                problem: Exception = error
                failed_at = error.pos if isinstance(error, json.JSONDecodeError) else getattr(error, "value", None)
                failed_in = None if failed_at is None else failed_at - self._at
            except RecursionError as error:
                raise self._broken("is nested too deeply") from error
            else:
                if self._ended or self._complete(end):
                    self._at = end
                    return value
                problem, failed_in = StopIteration(), None
            if len(self._text) - self._at > MAX_ITEM_CHARS:
                raise self._broken(f"an item is no JSON or larger than {MAX_ITEM_CHARS} characters") from problem
            if not self._more():
                if failed_in is not None and self._at + failed_in < len(self._text.rstrip()) and not _open(problem):
                    raise self._broken(f"no JSON: {problem}" if str(problem) else "no JSON") from problem
                raise self._truncated() from problem

    def _complete(self, end: int) -> bool:
        """Whether a value that ends there is whole: a number at the window's end may go on behind it."""
        rest = self._text[end : end + MAX_NUMBER_CHARS]
        return self._text[end - 1] in '"}]' or rest[:1] in _DELIMITERS or len(rest) == MAX_NUMBER_CHARS

    def _more(self) -> bool:
        """Move the window on, by as much as it already holds; False at the end of the file."""
        if self._ended or self._file is None:
            return False
        rest = self._text[self._at :]
        try:
            raw = self._file.read(max(CHUNK_BYTES, len(rest)))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise TraceError(
                str(self.path), f"its compressed data is cut off or damaged after {self.seen} events: {error}", ADVICE
            ) from error
        except OSError as error:
            raise TraceError(str(self.path), f"cannot be read: {error.strerror or error}", ADVICE) from error
        self._ended = not raw
        self._text = rest + self._decoder.decode(raw, final=self._ended)
        self._at = 0
        return len(self._text) > len(rest)

    def _truncated(self) -> TraceError:
        return TraceError(str(self.path), f"ends in the middle, after {self.seen} events", ADVICE)

    def _broken(self, what: str) -> TraceError:
        near = self._text[max(0, self._at - 20) : self._at + 40]
        return TraceError(str(self.path), f"is broken after {self.seen} events: {what}, near {near!r}", ADVICE)


def _open(problem: Exception) -> bool:
    """Whether it is a string that did not end: its error points to the start."""
    return isinstance(problem, json.JSONDecodeError) and problem.msg.startswith("Unterminated string")
