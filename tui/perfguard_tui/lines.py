"""Lines: what drawings are made of. A line is a row of (text, role) pairs, laid out by cells, not characters.

Names come from test suites and sockets: `clean` takes out what could move the cursor or speak to the terminal,
and nothing here reads markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size

Span: TypeAlias = tuple[str, str]
Line: TypeAlias = tuple[Span, ...]

ELLIPSIS = "…"
_LEAST_LEFT = 10


def clean(text: str) -> str:
    """The text with everything unprintable (controls, escapes, direction marks) as a replacement sign."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` cells: padded, or cut at the end with an ellipsis."""
    text = clean(text)
    length = cell_len(text)
    if length <= width:
        pad = " " * (width - length)
        return pad + text if right else text + pad
    return "" if width < 1 else set_cell_size(text, width - 1) + ELLIPSIS


def fit_middle(text: str, width: int) -> str:
    """Exactly `width` cells: padded, or cut in the middle, since names differ at both ends."""
    text = clean(text)
    if cell_len(text) <= width or width < 8:
        return fit(text, width)
    tail_width = (width - 1) * 3 // 5
    tail = ""
    for character in reversed(text):
        if cell_len(character + tail) > tail_width:
            break
        tail = character + tail
    head = set_cell_size(text, width - 1 - cell_len(tail))
    return head + ELLIPSIS + tail


def line(*spans: Span) -> Line:
    """A line of non-empty spans, cleaned."""
    return tuple((clean(text), role) for text, role in spans if text)


def width_of(spans: Iterable[Span]) -> int:
    """Cells that the spans take."""
    return sum(cell_len(text) for text, _ in spans)


def spread(left: Iterable[Span], right: Iterable[Span], width: int) -> Line:
    """`left` at the left and `right` at the right of `width` cells.

    The left side is cut if both do not fit; the right one goes if that would leave next to nothing of the left.
    """
    left, right = line(*left), line(*right)
    room = width - width_of(right) - (1 if right else 0)
    if room < _LEAST_LEFT:
        return crop(left, width)
    left = crop(left, room)
    gap = width - width_of(left) - width_of(right)
    return (*left, (" " * gap, "text"), *right) if right else left


def crop(spans: Line, width: int) -> Line:
    """The line cut to `width` cells, with an ellipsis where something was lost."""
    if width_of(spans) <= width:
        return spans
    kept: list[Span] = []
    left = width
    for text, role in spans:
        if cell_len(text) > left - 1:
            kept.append((fit(text, left) if cell_len(text) > left else text, role))
            break
        kept.append((text, role))
        left -= cell_len(text)
    return tuple(kept)


def plain(drawn: Iterable[Line]) -> str:
    """The text of drawn lines, for tests and for the clipboard."""
    return "\n".join("".join(text for text, _ in spans).rstrip() for spans in drawn)
