"""The palette: role -> style, dark and light, out of Okabe and Ito's colours that colour-blind people tell apart.

Okabe & Ito, "Color Universal Design" (2008). The light variants are darkened for contrast on paper white.
With NO_COLOR Textual takes the hues away; glyphs, words and weight stay.
"""

from __future__ import annotations

import functools

from rich.style import Style
from textual.theme import Theme

_DARK = {
    "text": "#d5dbe3",
    "bold": "bold #f2f5f8",
    "dim": "#8490a0",
    "rule": "#3a4452",
    "header": "#8fa3b8",
    "brand": "bold #0f1419 on #56b4e9",
    "accent": "#56b4e9",
    "bar": "#3f8fc4",
    "spark": "#6fa8cf",
    "unaccounted": "#77818f",
    "slower": "bold #ff8a47",
    "faster": "#56b4e9",
    "same": "#9aa5b1",
    "noisy": "#f0e442",
    "new": "#2fc79a",
    "missing": "#e69f00",
    "broken": "bold #e58fc1",
    "lane0": "#56b4e9",
    "lane1": "#e69f00",
    "lane2": "#2fc79a",
    "lane3": "#cc79a7",
    "key": "bold #56b4e9",
}
_LIGHT = {
    "text": "#26313d",
    "bold": "bold #0d141b",
    "dim": "#66717e",
    "rule": "#c5ccd4",
    "header": "#4a5d70",
    "brand": "bold #ffffff on #0072b2",
    "accent": "#0072b2",
    "bar": "#4a94c4",
    "spark": "#3c7fae",
    "unaccounted": "#98a2ad",
    "slower": "bold #b34700",
    "faster": "#0072b2",
    "same": "#66717e",
    "noisy": "#8a6d00",
    "new": "#007a5a",
    "missing": "#8f5f00",
    "broken": "bold #a23b78",
    "lane0": "#0072b2",
    "lane1": "#a66f00",
    "lane2": "#007a5a",
    "lane3": "#a23b78",
    "key": "bold #0072b2",
}
SELECTED = {True: Style.parse("on #22303f"), False: Style.parse("on #dbe7f1")}
UNFOCUSED = {True: Style.parse("on #1b2530"), False: Style.parse("on #eaeff4")}

THEMES = (
    Theme(
        name="perfguard-dark",
        primary="#56b4e9",
        accent="#56b4e9",
        foreground="#d5dbe3",
        background="#0f1419",
        surface="#0f1419",
        panel="#18202a",
        dark=True,
    ),
    Theme(
        name="perfguard-light",
        primary="#0072b2",
        accent="#0072b2",
        foreground="#26313d",
        background="#fcfcfa",
        surface="#fcfcfa",
        panel="#eef1f4",
        dark=False,
    ),
)


@functools.cache
def styles(*, dark: bool) -> dict[str, Style]:
    """The style of each role."""
    return {role: Style.parse(words) for role, words in (_DARK if dark else _LIGHT).items()}
