"""Where in a TOML text a key stands, so that an error about a value can name its line.

TOML parsers give lines for syntax errors only. This looks a key up in the text afterwards, on the slow path
of an error: every line that opens a table, sets a key or begins an array entry gets its path, and the
longest path that leads to the key wins. So a layout that perfguard did not write still gets a line near by.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Path = tuple["str | int", ...]

_AT_LINE = re.compile(r"at line (\d+)")
# A key, bare or quoted, with dots, up to its "=" or the end of a header.
_ASSIGNMENT = re.compile(r"""\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+|[ \t.])+?)\s*=""")


def line_of(text: str, path: Path) -> int:
    """The line, from 1, at which `path` stands in `text`: or the nearest of its parents, or 1."""
    best_line, best_length = 1, 0
    for line, candidate in _paths(text):
        if len(candidate) > best_length and candidate == path[: len(candidate)]:
            best_line, best_length = line, len(candidate)
    return best_line


def line_of_syntax_error(text: str, message: str) -> int:
    """The line, from 1, that a TOML parser's message names: the last one if it says "end of document"."""
    match = _AT_LINE.search(message)
    return int(match[1]) if match else max(1, len(text.splitlines()))


def header_path(line: str) -> tuple[str, ...] | None:
    """The key path that a line such as `["case".metric]` opens, or None if it is no table header."""
    if not line.lstrip().startswith("["):
        return None
    try:
        return _single_path(tomllib.loads(line))
    except ValueError:
        return None


def _paths(text: str) -> Iterator[tuple[int, Path]]:
    header: Path = ()
    array: Path = ()
    entry = -1
    seen_headers: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        opened = header_path(line)
        if opened is not None:
            array, entry = (), -1
            header = opened
            if line.lstrip().startswith("[["):
                seen_headers[opened] = seen_headers.get(opened, -1) + 1
                header = (*opened, seen_headers[opened])
            yield number, header
        elif (match := _ASSIGNMENT.match(line)) and (key := _key_path(match[1])):
            array, entry = (*header, *key), -1
            yield number, array
        elif array and line.strip() and line.lstrip()[0] not in "#]":
            entry += 1
            yield number, (*array, entry)


def _key_path(text: str) -> tuple[str, ...]:
    try:
        return _single_path(tomllib.loads(f"{text} = 0"))
    except ValueError:
        return ()


def _single_path(tables: Any) -> tuple[str, ...]:
    """The path down nested tables of one key each (`[[x]]` opens a list of one)."""
    path: list[str] = []
    while isinstance(tables, dict) and len(tables) == 1:
        ((key, tables),) = tables.items()
        path.append(key)
        if isinstance(tables, list) and len(tables) == 1:
            tables = tables[0]
    return tuple(path)
