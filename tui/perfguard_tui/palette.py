"""The palettes: role -> style. The default, dark and light, is of colours that colour-blind people tell apart.

Okabe & Ito, "Color Universal Design" (2008). The light variants are darkened for contrast on paper white.
`perfguard-classic` is red and green for those who ask for it; `perfguard-16` keeps to a terminal's own 16 colours.
With NO_COLOR Textual takes the hues away; glyphs, words and weight stay.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

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
# Fainter than text, for what lies behind points.
_DARK["band"], _LIGHT["band"] = "#2b4a3f", "#bfe3d5"
_CLASSIC = {**_DARK, "slower": "bold #ff5f5f", "broken": "bold #ff5faf", "faster": "#5fd75f", "new": "#5fd7d7"}
# The sixteen as Rich has them: each of these is sent as the terminal's own colour, whatever that looks like.
_ANSI = {
    "black": "#000000",
    "yellow": "#aa5500",
    "magenta": "#aa00aa",
    "cyan": "#00aaaa",
    "white": "#aaaaaa",
    "bright_black": "#555555",
    "bright_yellow": "#ffff55",
    "bright_blue": "#5555ff",
    "bright_magenta": "#ff55ff",
    "bright_cyan": "#55ffff",
    "bright_white": "#ffffff",
}
_SIXTEEN = {
    "text": "white",
    "bold": "bold bright_white",
    "dim": "bright_black",
    "rule": "bright_black",
    "header": "cyan",
    "brand": "bold black on bright_cyan",
    "accent": "bright_cyan",
    "bar": "bright_blue",
    "spark": "cyan",
    "unaccounted": "bright_black",
    "slower": "bold bright_yellow",
    "faster": "bright_blue",
    "same": "white",
    "noisy": "yellow",
    "new": "bright_cyan",
    "missing": "yellow",
    "broken": "bold bright_magenta",
    "lane0": "bright_cyan",
    "lane1": "yellow",
    "lane2": "bright_blue",
    "lane3": "magenta",
    "key": "bold bright_cyan",
    "band": "bright_black",
}
_SIXTEEN = {role: " ".join(_ANSI.get(word, word) for word in words.split()) for role, words in _SIXTEEN.items()}
_ROLES = {
    "perfguard-dark": _DARK,
    "perfguard-light": _LIGHT,
    "perfguard-classic": _CLASSIC,
    "perfguard-16": _SIXTEEN,
}
# Of the chosen row: in the pane that has the keys, and in another. Sixteen colours have no shade between.
_CHOSEN = {True: (Style.parse("on #22303f"), Style.parse("on #1b2530"))}
_CHOSEN[False] = (Style.parse("on #dbe7f1"), Style.parse("on #eaeff4"))
_CHOSEN_SIXTEEN = (Style.parse("reverse"), Style.parse("underline"))

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
    *(
        Theme(
            name=name,
            primary="#56b4e9" if name != "perfguard-16" else _ANSI["bright_cyan"],
            accent="#56b4e9",
            foreground="#d5dbe3" if name != "perfguard-16" else _ANSI["white"],
            background="#0f1419" if name != "perfguard-16" else "#000000",
            surface="#0f1419" if name != "perfguard-16" else "#000000",
            panel="#18202a" if name != "perfguard-16" else "#000000",
            dark=True,
        )
        for name in ("perfguard-classic", "perfguard-16")
    ),
)


@functools.cache
def styles(theme: str) -> dict[str, Style]:
    """The style of each role in one of `THEMES`, by its name; the default's for a theme that is not ours."""
    return {role: Style.parse(words) for role, words in _ROLES.get(theme, _DARK).items()}


def chosen_style(theme: Theme, *, focused: bool = True) -> Style:
    """What marks the chosen row in a theme."""
    styles_of = _CHOSEN_SIXTEEN if theme.name == "perfguard-16" else _CHOSEN[theme.dark]
    return styles_of[0 if focused else 1]


def first_theme(environ: Mapping[str, str]) -> str:
    """The theme to begin with: 16 colours where the terminal says that it has no more."""
    rich = environ.get("COLORTERM", "") in ("truecolor", "24bit") or "256" in environ.get("TERM", "")
    plain = environ.get("TERM", "") in ("xterm", "linux", "vt100", "ansi", "screen", "xterm-16color", "rxvt")
    return "perfguard-16" if plain and not rich else THEMES[0].name
