"""The documentation as data: its code blocks with what a comment above them says of them, its links, its anchors.

A comment directly above a block is invisible to readers and tells the tests how to take the block:

    <!-- not run: REASON -->        why it is not run; commands are still checked against the options there are
    <!-- untimed: REASON -->        why a Python block is run, but not measured
    <!-- file: NAME -->             a file of the page's project, written before what follows is run
    <!-- exit: STATUS -->           the commands of a `console` block end with that status (0 if it is not said)
    <!-- output: exact -->          the lines shown below the commands are lines of what they really print
    <!-- given: (new line) CODE --> Python that the page takes for granted, run before the block
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
NOTE = re.compile(r"<!--\s*(not run|untimed|file|exit|output|given):\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block. `notes` are the comments above it, by their first word."""

    page: Path
    line: int
    language: str
    text: str
    notes: dict[str, str]

    @property
    def where(self) -> str:
        """`docs/start.md:12`."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def name(self) -> str:
        """`start_12`, for a module."""
        return f"{self.page.stem.replace('-', '_').lower()}_{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a `console` block: what follows `$ `, with lines that a backslash continues."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]

    @property
    def output(self) -> list[str]:
        """What a `console` block shows of the commands' output, without what `...` stands for."""
        shown = [line.strip() for line in self.text.splitlines() if not line.startswith("$ ")]
        return [line for line in shown if line and line != "..."]


@dataclass(frozen=True)
class Link:
    """One link or image that does not leave the repository."""

    page: Path
    target: str


def pages() -> list[Path]:
    """README.md and all pages of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    notes: dict[str, str] = {}
    for token in _parser().parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            notes |= dict(NOTE.findall(token.content))
        elif token.type == "fence":
            line = token.map[0] + 1 if token.map else 0
            yield Block(page, line, token.info.strip(), token.content, notes)
            notes = {}
        elif token.type == "inline":
            notes = {}


def all_blocks() -> list[Block]:
    """Every fenced block of every page."""
    return [block for page in pages() for block in blocks(page)]


def links(page: Path) -> Iterator[Link]:
    """The links and images of a page that do not leave the repository."""
    for token in _inline(page):
        target = token.attrGet("href") or token.attrGet("src")
        if target and not re.match(r"[a-z]+:", str(target)):
            yield Link(page, str(target))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as both a forge and the site make them."""
    found: dict[str, int] = {}
    tokens = _parser().parse(page.read_text(encoding="utf-8"))
    for before, token in itertools.pairwise(tokens):
        if before.type == "heading_open":
            text = "".join(child.content for child in token.children or () if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")
            found[slug] = found.get(slug, 0) + 1
    return set(found)


def _inline(page: Path) -> Iterator[Token]:
    for token in _parser().parse(page.read_text(encoding="utf-8")):
        yield from token.children or ()


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table")
