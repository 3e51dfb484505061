"""The site as `make docs` builds it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import ROOT, pages

ELSEWHERE = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as by `make docs` from a copy of what it is made of."""
    pytest.importorskip("zensical", reason="the site is built with Zensical, which needs Python 3.11")
    folder = tmp_path_factory.mktemp("site")
    for name in ("mkdocs.yml", "docs", "tools/site_markdown.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (folder / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build/site"


def test_site_is_built_without_warnings(site: Path) -> None:
    """Each page becomes a page, and a warning would have failed the build."""
    built = {page.stem for page in site.glob("*.html")} - {"404"}
    assert built == {page.stem for page in pages() if page.name != "README.md"}


def test_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    """No page loads a script, a style, a picture or a font from another host: the site works offline."""
    texts = {page.name: page.read_text(encoding="utf-8") for page in site.glob("*.html")}
    assert {name: found for name, text in texts.items() if (found := ELSEWHERE.findall(text))} == {}
    styles = "".join(style.read_text(encoding="utf-8") for style in site.rglob("*.css"))
    assert re.findall(r"url\([\"']?https?:[^)]*\)", styles) == []


def test_formulas_are_drawn_by_the_browser(site: Path) -> None:
    """Formulas are MathML, so that no script has to be fetched to read them; none is left as TeX."""
    text = (site / "statistics.html").read_text(encoding="utf-8")
    assert text.count("<math") > 20
    assert not re.search(r'class="arithmatex">\\', text)
