"""Pieces of HTML and SVG: everything that goes into the page goes through here, and all text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is markup already; any other text is escaped where it meets markup."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Any value as text of the page: markup characters escaped, what is not printable made visible."""
    if isinstance(value, Markup):
        return value
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(value))
    return Markup(html.escape(shown, quote=True))


def tag(name: str, *inside: object, **attributes: object) -> Markup:
    """An element. `class_` and `for_` lose their underscore, others become hyphens; None leaves an attribute out."""
    opened = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{opened}>{''.join(map(text, inside))}</{name}>")


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after the other."""
    return Markup(text(between).join(map(text, parts)))


def picture(width: int, height: int, told: str, parts: Iterable[Markup], class_: str = "") -> Markup:
    """An SVG with what it shows in words, for readers who do not see it."""
    return tag(
        "svg",
        tag("title", told),
        *parts,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        class_=class_ or None,
    )


def rect(x: float, y: float, width: float, height: float, class_: str, told: str = "") -> Markup:
    """A rectangle; with `told` a tooltip."""
    inside = (tag("title", told),) if told else ()
    return tag("rect", *inside, x=at(x), y=at(y), width=at(max(width, 0.0)), height=at(height), class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return tag("line", x1=at(x1), y1=at(y1), x2=at(x2), y2=at(y2), class_=class_)


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through points."""
    return tag("polyline", points=" ".join(f"{at(x)},{at(y)}" for x, y in points), class_=class_)


def polygon(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A filled outline."""
    return tag("polygon", points=" ".join(f"{at(x)},{at(y)}" for x, y in points), class_=class_)


def circle(x: float, y: float, radius: float, class_: str, told: str = "") -> Markup:
    """A dot; with `told` a tooltip."""
    return tag("circle", *((tag("title", told),) if told else ()), cx=at(x), cy=at(y), r=at(radius), class_=class_)


def label(x: float, y: float, shown: str, anchor: str = "start", class_: str = "") -> Markup:
    """Text in a picture; its anchor is "start", "middle" or "end"."""
    return tag("text", shown, x=at(x), y=at(y), text_anchor=anchor, class_=class_ or None)


def at(x: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{x:.1f}".removesuffix(".0")
