"""Formulas of the site as MathML, which browsers draw by themselves: no script, no font from elsewhere.

A Python-Markdown extension behind `pymdownx.arithmatex` in its generic mode, which marks formulas and leaves them TeX.
"""

from __future__ import annotations

from html import unescape
from typing import Any
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor


class _Formulas(Treeprocessor):
    def run(self, root: Element) -> None:
        """Replace the TeX in each element of class `arithmatex` by a placeholder for its MathML."""
        for element in root.iter():
            if element.get("class") == "arithmatex" and element.text:
                display = "block" if element.text.startswith(r"\[") else "inline"
                tex = unescape(element.text.strip()[2:-2])
                element.text = self.md.htmlStash.store(convert(tex, display=display))


class SiteMath(Extension):
    """Formulas as MathML."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Python-Markdown's name
        """Run after inline patterns, which make the elements of formulas within a line."""
        md.treeprocessors.register(_Formulas(md), "site_math", 5)


def makeExtension(**options: Any) -> SiteMath:  # noqa: N802 - Python-Markdown's name
    """Python-Markdown's door."""
    return SiteMath(**options)
