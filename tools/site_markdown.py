"""What the site does with Markdown so that it reads as on a forge: formulas drawn, pipes in the code of tables plain.

Python-Markdown extensions. Formulas are marked by `pymdownx.arithmatex` in its generic mode, which leaves them TeX;
they become MathML, which browsers draw by themselves: no script, no font from elsewhere.
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


class _Pipes(Treeprocessor):
    def run(self, root: Element) -> None:
        """An escaped pipe in the code of a table's cell is a pipe, as on GitHub; else the backslash would be kept."""
        for cell in root.iter("td"):
            for code in cell.iter("code"):
                code.text = (code.text or "").replace(r"\|", "|")


class SiteMarkdown(Extension):
    """Both, after the inline patterns, which make the elements they look for."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Python-Markdown's name
        """Python-Markdown's hook."""
        md.treeprocessors.register(_Formulas(md), "site_formulas", 5)
        md.treeprocessors.register(_Pipes(md), "site_pipes", 4)


def makeExtension(**options: Any) -> SiteMarkdown:  # noqa: N802 - Python-Markdown's name
    """Python-Markdown's door."""
    return SiteMarkdown(**options)
