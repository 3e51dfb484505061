"""The HTML report: one file, the verdict first, and nothing of a project's text acts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
from made_reports import HOSTILE, hostile, story

from perfguard.report.html import render

VOID = {"meta", "input"}


class Page(HTMLParser):
    """The page as a parser sees it: tags with attributes, text by element, and whether all is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def text(self, name: str) -> str:
        return "".join(data for tag, data in self.texts if tag == name)


@pytest.fixture(scope="module")
def page() -> Page:
    source = story()
    return Page(render(source.run, timeline=source.timeline))


def test_the_verdict_is_first(page: Page) -> None:
    """In the title and the one heading, before any table or picture."""
    assert page.text("title").startswith("perfguard fails: 1 slower, 1 noisy")
    assert page.text("h1") == "✕ The gate fails"
    names = [tag for tag, _ in page.tags]
    assert names.index("h1") < min(names.index("svg"), names.index("table"))


def test_nothing_is_fetched(page: Page) -> None:
    """No address in any attribute but links inside the page; the policy lets in this style and this script only."""
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            if name in ("href", "src", "action", "data"):
                assert (value or "").startswith("#")
    policy = next(m["content"] or "" for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    for name in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.text(name).encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?:|url\(|@import", page.text("style") + page.text("script"))


def test_every_figure_is_in_the_table_and_leads_to_its_case(page: Page) -> None:
    """Worst first, without script; each row's link is the id of a case that is there, once."""
    verdicts = [row["data-verdict"] for row in page.all("tr") if "data-verdict" in row]
    assert len(verdicts) == sum(len(case.metrics) for case in story().run.cases)
    assert verdicts[:3] == ["slower", "noisy", "new"]
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert {f"#{each}" for each in ids if (each or "").startswith("case-")} >= {a["href"] for a in page.all("a")}


def test_what_changed_is_open_and_drawn(page: Page) -> None:
    """The broken, the slower and the faster case; with distribution, change, account and the lanes of a call."""
    assert sum("open" in case for case in page.all("details")) == 3
    titles = page.text("title")
    for told in ("60 samples, median 2.75 ms; before: median 1.95 ms of 8 process runs", "+41 %, between +38 %"):
        assert told in titles
    assert "one call: rpc" in titles
    assert "server" in page.text("text")
    assert "+96% of the change" in titles


def test_every_picture_says_in_words_what_it_shows(page: Page) -> None:
    """For readers who do not see it; coordinates are finite."""
    roles = [svg.get("role") for svg in page.all("svg")]
    assert len(roles) > 30
    assert set(roles) == {"img"}
    numbers = [v or "" for _, a in page.tags for k, v in a.items() if k in ("x", "y", "width", "points", "cx", "x1")]
    assert not [value for value in numbers if "nan" in value or "inf" in value]


def test_hostile_text_adds_no_markup() -> None:
    """The same elements and attributes as for harmless names; and the text is there to be read."""
    page, harmless = Page(render(hostile())), Page(render(story().run))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless.tags}
    assert {name for _, a in page.tags for name in a} <= {name for _, a in harmless.tags for name in a}
    assert len(page.all("script")) == 1
    assert HOSTILE[0] in page.text("p")
    everything = "".join(data for _, data in page.texts)
    assert not [c for c in everything if not c.isprintable() and c not in "\n\t"]


@dataclass(frozen=True)
class Point:
    """A run in a trend."""

    run: str
    commit: str
    started: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MadeTrend:
    """A metric over runs."""

    case: str
    metric: str
    unit: str
    points: Sequence[Point]


def test_trends_are_drawn_where_there_are_two_runs() -> None:
    """With first and last value in words."""
    run = story().run
    points = [Point(f"r{i}", "abc", f"2026-11-{i + 10}T00:00:00Z", 1e-3 + i * 1e-5, 0.9e-3, 1.2e-3) for i in range(9)]
    trends = [MadeTrend(run.cases[0].key, "time", "s", points), MadeTrend("alone", "time", "s", points[:1])]
    page = Page(render(run, trends))
    assert "time over 9 runs: 1 ms, now 1.08 ms" in page.text("title")
    assert "alone" not in page.text("span")
