"""A page as it is drawn: one column of lines, or two, and which line of the first is the chosen one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from perfguard_tui.lines import Line, clean, line

_BLANK: Line = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """`main` at the left, `side` at the right (empty: `main` has all the width); `chosen`: a line of `main`."""

    main: Sequence[Line]
    side: Sequence[Line] = ()
    chosen: int | None = None


def columns_of(width: int) -> tuple[int, int]:
    """How many cells the main and the side column may fill, of a page that has both."""
    left = width * 11 // 20
    return left - 2, width - left - 2


def joined(*parts: Sequence[Line]) -> list[Line]:
    """The parts that are not empty, a blank line between them."""
    lines: list[Line] = []
    for part in parts:
        if part:
            lines += [_BLANK, *part] if lines else part
    return lines


def wrapped(text: str, width: int, role: str = "text", mark: str = "· ") -> list[Line]:
    """A paragraph over as many lines as it needs."""
    parts = textwrap.wrap(clean(text), max(10, width - 4)) or [""]
    return [line((" " + (" " * len(mark) if i else mark), "dim"), (part, role)) for i, part in enumerate(parts)]
