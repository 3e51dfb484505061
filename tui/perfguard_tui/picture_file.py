"""What Textual's pictures need before they are files: dots where a font has none of the right width, spaces kept."""

from __future__ import annotations

import html
import re

_TEXT = re.compile(
    r'<text(?P<before>[^>]*?) x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)" textLength="(?P<length>[\d.]+)"(?P<after>[^>]*)>'
    r"(?P<text>[^<]*[\u2801-\u28ff][^<]*)</text>"
)
_CLASS = re.compile(r'class="[^"]*"')
_BRAILLE, _LAST = 0x2800, 0x28FF
_LINE, _ASCENT = 24.4, 18.5  # of a line, and from its top to where its letters stand, as Rich lays lines out
_DOT = 3.0
# Which bit is which dot: (column, row).
_PLACES = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))


def finished(svg: str) -> str:
    """The picture with every Braille sign drawn as its dots: fallback fonts make them wider than a cell.

    Some renderers (librsvg) trim even the no-break spaces that cells are padded with unless told not to.
    """
    return _TEXT.sub(_with_dots, svg).replace("<text ", '<text xml:space="preserve" ')


def _with_dots(match: re.Match[str]) -> str:
    text = html.unescape(match["text"])
    x, y, cell = float(match["x"]), float(match["y"]), float(match["length"]) / len(text)
    top = y - _ASCENT
    across, down, middle = cell / 2, _LINE / 4, _DOT / 2
    path = "".join(
        f"M{x + number * cell + (column + 0.5) * across - middle:.1f} {top + (row + 0.5) * down - middle:.1f}h3v3h-3z"
        for number, character in enumerate(text)
        if _BRAILLE < ord(character) <= _LAST
        for bit, (column, row) in enumerate(_PLACES)
        if ord(character) - _BRAILLE >> bit & 1
    )
    rest = "".join("\N{NO-BREAK SPACE}" if _BRAILLE <= ord(one) <= _LAST else one for one in text)
    look = _CLASS.search(match["before"])
    dots = f'<path {look[0] if look else ""} d="{path}"/>'
    if not rest.strip("\N{NO-BREAK SPACE} "):
        return dots
    kept = html.escape(rest, quote=False).replace("\N{NO-BREAK SPACE}", "&#160;")
    return (
        f'<text{match["before"]} x="{match["x"]}" y="{match["y"]}" textLength="{match["length"]}"{match["after"]}>'
        f"{kept}</text>{dots}"
    )
