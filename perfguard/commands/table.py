"""Plain tables and patterns: what several verbs share."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str] = frozenset()) -> str:
    """Columns as wide as their widest cell, two spaces apart; those named in `right` are flush right."""
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if header in right else cell.ljust(width)
            for cell, width, header in zip(cells, widths, headers, strict=True)
        )
        return "  ".join(aligned).rstrip()

    return "\n".join(line(cells) for cells in (headers, *rows))


def short_key(case_key: str) -> str:
    """A case key without the packages of its module: `test_rt::test_echo[shm]`."""
    module, separator, test = case_key.partition("::")
    return f"{module.rpartition('.')[2]}{separator}{test}"


def matches(pattern: str | None, text: str) -> bool:
    """Whether `text` contains `pattern`, in which `*` and `?` stand for any text and any character.

    Brackets are themselves: they are part of case keys. No pattern matches everything.
    """
    if not pattern:
        return True
    wild = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.search(wild, text, re.DOTALL) is not None
