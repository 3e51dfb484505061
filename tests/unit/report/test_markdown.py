"""The Markdown report: the verdict first, and nothing of a project's text acts as markup."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from made_reports import hostile, story
from markdown_it import MarkdownIt
from markdown_it.token import Token

from perfguard.report import text
from perfguard.report.markdown import render

MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})


def tokens(text: str) -> list[Token]:
    """All tokens of a GitHub-flavoured reading, inline ones included."""
    found = []
    for token in MARKDOWN.parse(text):
        found.append(token)
        found += token.children or []
    return found


def test_the_verdict_comes_first_and_the_phase_is_named() -> None:
    """A heading with the counts; a row with before, now, the change with its interval, and the phase behind it."""
    lines = render(story().run).splitlines()
    assert lines[0] == "### ❌ perfguard fails: 1 slower, 1 noisy, 1 new, 1 faster, 5 same"
    (slower,) = [line for line in lines if line.startswith("| ▲ slower")]
    for part in ("`test_round_trip.py::test_round_trip[10MiB-shm]`", "1.95 ms", "2.75 ms", "**+41 %** [+38 %, +44 %]"):
        assert part in slower
    assert "`rpc/copy` +767 µs = 96%" in slower


def test_the_rest_is_folded_and_the_noise_is_told() -> None:
    """Noisy, same and new cases inside `details`; how busy the machine was; a command to do it again."""
    told = render(story().run)
    assert [t.content for t in tokens(told) if t.type == "html_block" and "noisy" in t.content]
    assert "other processes used 3% of the CPUs (at worst 40%)" in told
    assert "pytest --perfguard" in told


def test_hostile_text_stays_text() -> None:
    """No link, image, heading, mention or HTML beyond the report's own, and every row has its six cells."""
    found = tokens(render(hostile()))
    html = [token.content for token in found if token.type in ("html_block", "html_inline")]
    tags = set(re.findall(r"</?[a-z]+", " ".join(html)))
    assert tags <= {"<details", "</details", "<summary", "</summary", "<sub", "</sub", "<br"}
    kinds = {token.type for token in found}
    assert not kinds & {"image", "link_open", "em_open", "s_open", "hr", "blockquote_open"}
    assert sum(token.type == "heading_open" for token in found) == 1
    for token in found:
        assert token.type != "text" or "@" not in token.content
    rows = sum(token.type == "tr_open" for token in found)
    assert rows > 5
    assert sum(token.type in ("td_open", "th_open") for token in found) == 6 * rows


def test_a_bar_in_a_name_stays_in_its_cell() -> None:
    """And shows as it is."""
    cells = [token.content for token in tokens(render(hostile())) if token.type == "code_inline"]
    assert any("| a \\ | b" in text for text in cells)


def test_it_fits_a_comment() -> None:
    """Details go before rows, rows before the verdict."""
    run = story().run
    many = run.cases * 60
    text = render(replace(run, cases=many))
    assert len(text) <= 60_000
    assert text.startswith("### ❌")
    assert "more" in text


def test_a_run_that_did_not_end_says_so() -> None:
    """A recording cut off has no gate."""
    run = story().run
    unfinished = replace(run, gate=None, finished=None)
    assert "did not end" in render(unfinished).splitlines()[0]


@pytest.mark.parametrize(
    ("source", "option"),
    [("main (c0ffee1)", "--perfguard-against=main"), ("../other tree", "'--perfguard-against-path=../other tree'")],
)
def test_a_duet_is_done_again_as_a_duet(source: str, option: str) -> None:
    """Against the same revision or folder: alone, the command would compare with stored baselines."""
    run = story().run
    (case,) = [case for case in run.cases if case.id.endswith("[10MiB-shm]")]
    metric = case.metrics[0]
    assert metric.change is not None
    assert metric.baseline is not None
    paired = replace(
        metric, change=replace(metric.change, basis="pairs"), baseline=replace(metric.baseline, source=source)
    )
    duet = replace(run, cases=(replace(case, metrics=(paired,)),))
    command = f"pytest --perfguard {option} '{case.id}'"
    assert f"\n{command}\n" in render(duet)
    assert f"again: {command}\n" in text.render(duet)
    assert "limit 10%, 8 restarts a side" in render(duet)
