"""Claims about what a gate says: annotations, outputs, summary, Markdown cut to size, places of tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_reports import story

from perfguard.ci import artifact, code_quality, message
from perfguard.ci.annotations import annotated
from perfguard.ci.artifact import Outcome
from perfguard.ci.place import place_of
from perfguard.ci.workflow import Annotation, command_line, cut, within_limits, write_outputs, write_summary
from perfguard.errors import CiError

OUTCOME = Outcome("slower", 1, "a" * 40, "main")


def test_an_annotation_is_escaped_as_the_runner_unescapes_it() -> None:
    """Line ends and per cents everywhere; colons and commas in properties only."""
    told = Annotation("error", "a: 5 %, b", "+9 %\nx:y,z\r", "t,1.py", 3)
    expected = "::error file=t%2C1.py,line=3,title=a%3A 5 %25%2C b::+9 %25%0Ax:y,z%0D"
    assert command_line(told) == expected
    assert command_line(Annotation("notice", "t", "x")) == "::notice title=t::x"


def test_no_more_than_ten_of_a_level_and_the_tenth_tells_of_the_rest() -> None:
    """Twelve errors and ten warnings: nine errors, one that names three, all warnings."""
    errors = [Annotation("error", f"slower: {number}", "x") for number in range(12)]
    warnings = [Annotation("warning", f"w{number}", "x") for number in range(10)]
    kept = within_limits([*warnings, *errors])
    assert kept[:9] == errors[:9]
    assert (kept[9].title, kept[9].text.splitlines()[:3]) == ("3 more", ["slower: 9", "slower: 10", "slower: 11"])
    assert kept[10:] == warnings


def test_an_output_cannot_end_early(tmp_path: Path) -> None:
    """A value of several lines stays one value, whatever it holds: its end is drawn anew each time."""
    file = tmp_path / "output"
    write_outputs(file, {"verdict": "same\nEOF\nfolder<<EOF\n/", "exit-status": "0"})
    first, *middle, last = file.read_text().splitlines()[:6]
    assert first == f"verdict<<{last}"
    assert middle == ["same", "EOF", "folder<<EOF", "/"]
    with pytest.raises(CiError, match="nowhere"):
        write_outputs(tmp_path / "nowhere" / "output", {})


@pytest.mark.parametrize("most", [120, 300, 1000, 4000])
def test_markdown_is_cut_at_a_line_with_everything_closed(most: int) -> None:
    """However much is left: no open details, no open code block, valid UTF-8, within the limit."""
    block = "<details><summary>µ</summary>\n\n```text\n" + "µs " * 20 + "\n```\n\n</details>\n"
    text = cut("# µ\n" + block * 40, most)
    assert len(text.encode()) <= most
    assert text.count("<details") == text.count("</details>")
    assert text.count("```") % 2 == 0
    assert text.endswith("The run document has all of it.")
    assert cut("short", 5) == "short"


def test_the_summary_stays_below_its_limit_with_what_the_step_wrote_before(tmp_path: Path) -> None:
    """1 MiB in all: 600 kB are there already, and a megabyte more is asked for."""
    file = tmp_path / "summary"
    file.write_text("x" * 599_999 + "\n")
    write_summary(file, "another line of it\n" * 60_000)
    assert 1_000_000 < file.stat().st_size <= 1024 * 1024


def test_a_comment_is_cut_to_what_github_takes_and_keeps_its_marker() -> None:
    """Four hundred cases: below 65,536 characters, the marker first."""
    run = story().run
    cases = tuple(replace(case, id=f"{case.id}-{n}" * 3) for n in range(40) for case in run.cases)
    text = message.comment(OUTCOME, replace(run, cases=cases), "perf on 3.12")
    assert text.startswith("<!-- perfguard:perf-on-3.12 -->\n###")
    assert len(text) < 65_536


def test_a_problem_cannot_leave_its_code_block() -> None:
    """Backticks in what pytest said make a longer fence."""
    text = message.body(replace(OUTCOME, problem="```\n# head"), None)
    assert "````text\n```\n# head\n````" in text


def test_what_failed_the_gate_is_an_error_at_its_line_and_the_rest_a_warning(tmp_path: Path) -> None:
    """The story's run: broken first, then slower; noisy as a notice, or as errors where the gate fails on it."""
    run = story().run
    gate = run.gate
    assert gate is not None
    strict = annotated(run, tmp_path, (tmp_path,), ("slower", "noisy", "missing"))
    lax = annotated(run, tmp_path, (tmp_path,), ())
    assert {each.level for each in strict} == {"error"}
    assert strict[0].title.startswith("broken: ")
    assert [each.level for each in lax if each.title.startswith("slower")] == ["warning"] * len(gate.slower)
    assert lax[-1].level == "notice"
    assert all(name.partition("::")[2] in " ".join(each.title for each in strict) for name in gate.noisy)


SOURCE = """\
import pytest

if True:
    def test_a():
        pass


class TestB:
    @pytest.mark.parametrize("x", [1])
    async def test_c(self, x):
        pass


def test_a():
    pass
"""


@pytest.mark.parametrize(
    ("case", "line"),
    [("test_x.py::test_a", 14), ("test_x.py::TestB::test_c[a::b-1]", 10), ("test_x.py::test_gone", 1)],
)
def test_a_test_s_place_is_found(tmp_path: Path, case: str, line: int) -> None:
    """The definition that counts, in a class, with parameters; line 1 where it cannot be told."""
    folder = tmp_path / "pkg/tests"
    folder.mkdir(parents=True)
    (folder / "test_x.py").write_text(SOURCE)
    assert place_of(case, tmp_path, (tmp_path, folder)) == ("pkg/tests/test_x.py", line)
    assert place_of("../../etc/passwd::x", tmp_path, (folder,)) == ("", 1)


def test_gitlab_s_report_has_what_it_needs() -> None:
    """An entry for each annotation with a place; the same place and title have the same fingerprint."""
    slower = Annotation("error", "slower: a", "+9 %", "t.py", 3)
    first, again = (
        json.loads(code_quality.as_text([each, Annotation("notice", "n", "x")]))
        for each in (slower, replace(slower, text="+8 %", line=4))
    )
    assert len(first) == 1
    assert first[0]["location"] == {"path": "t.py", "lines": {"begin": 3}}
    assert first[0]["severity"] == "major"
    assert first[0]["fingerprint"] == again[0]["fingerprint"]


def test_an_outcome_comes_back_as_it_was_written() -> None:
    """`gate.json`, read again."""
    outcome = Outcome("slower", 1, "a" * 40, "main", "b" * 40, 7, "https://x", "")
    assert artifact.from_map(json.loads(artifact.as_text(outcome)), "gate.json") == outcome
