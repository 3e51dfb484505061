"""KIND=PATH as a user writes it, files written whole, and a report that fails alone."""

from __future__ import annotations

import importlib.util
import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from event_story import events
from made_reports import recording, story

from perfguard import cli
from perfguard.errors import DocumentError, EventError, OptionError
from perfguard.events.framing import LENGTH, MAGIC
from perfguard.events.schema import pack
from perfguard.report import exports, making, reading
from perfguard.report.exports import KINDS, Kind, Output, parse_outputs
from perfguard.report.files import write_whole

OPTION = "--perfguard-report"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_maker(kind: str) -> None:
    """The registry names functions that are there; what needs a library says which extra brings it."""
    entry = KINDS[kind]
    assert entry.summary
    assert bool(entry.needs) == bool(entry.extra)
    if all(importlib.util.find_spec(name.partition(".")[0]) for name in entry.needs):
        assert callable(exports.function(entry.maker))
        assert not entry.sender or callable(exports.function(entry.sender))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nope=x", "markdown, html, json, junit, csv"),
        ("markdown", "KIND=PATH"),
        ("markdown=", "KIND=PATH"),
        ("markdown=no/such/folder/x", "does not exist"),
        ("markdown=.", "is a folder"),
        ("markdown=http://127.0.0.1/", "is a file"),
        ("markdown=-", "perfguard report"),
        ("markdown=/proc/x", "cannot be written"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(text: str, said: str, tmp_path: Path) -> None:
    """Naming the option and what to do."""
    with pytest.raises(OptionError, match=said) as told:
        parse_outputs([text], tmp_path, OPTION)
    assert told.value.culprit == OPTION
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the run, not after it."""
    kinds = {**KINDS, "x": Kind("", "a:b", ("no_such_library.part",), "parquet")}
    monkeypatch.setattr(exports, "KINDS", kinds)
    with pytest.raises(OptionError, match=r"no_such_library.part.*perfguard\[parquet\]"):
        parse_outputs(["x=a"], tmp_path, OPTION)


def test_two_reports_are_two_files(tmp_path: Path) -> None:
    """The second would replace the first."""
    with pytest.raises(OptionError, match="twice"):
        parse_outputs(["markdown=a", "html=./a"], tmp_path, OPTION)
    assert len(parse_outputs(["markdown=a", "html=b"], tmp_path, OPTION)) == 2


def test_one_that_fails_fails_alone(tmp_path: Path) -> None:
    """The others are written, and what went wrong names the report."""
    gone = tmp_path / "gone" / "x.md"
    wanted = [Output("markdown", gone), Output("json", tmp_path / "run.json")]
    done, problems = making.make_all(wanted, story())
    assert [output.kind for output in done] == ["json"]
    assert reading.read(tmp_path / "run.json").run == story().run
    (problem,) = problems
    assert str(gone) in problem


def test_a_broken_maker_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    """A project's hooks run inside a report."""

    class Hooks:
        rootpath = tmp_path
        hook = None  # no hooks at all: an AttributeError inside

    source = story()
    done, problems = making.make_all(
        [Output("pytest-benchmark", tmp_path / "x")], type(source)(source.run, config=Hooks())
    )
    assert not done
    assert "pytest-benchmark=" in problems[0]
    assert "AttributeError" in problems[0]


def test_a_file_is_replaced_whole_with_the_umasks_rights(tmp_path: Path) -> None:
    """Readable by whom the umask lets; a link stays one; nothing is left beside it."""
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("before")
    link.symlink_to(path)
    write_whole(link, "now")
    assert link.is_symlink()
    assert path.read_text() == "now"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert sorted(tmp_path.iterdir()) == [path, link]


def test_what_is_no_file_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    """A pipe is still a pipe afterwards."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "told")
        assert os.read(reader, 100) == b"told"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Its folder is gone, or the disk is full."""
    with pytest.raises(DocumentError, match="gone"):
        write_whole(tmp_path / "gone" / "a", "x")
    if Path("/dev/full").exists():
        with pytest.raises(DocumentError, match=r"/dev/full: cannot be written: .*No space left"):
            write_whole(Path("/dev/full"), "x")


def test_a_run_is_read_from_its_document_and_from_its_recording(tmp_path: Path) -> None:
    """By the file's first bytes, whatever its name; the recording also tells the course in time."""
    told = reading.read(recording(tmp_path / "run.json"))
    assert told.run == story().run
    assert told.timeline is not None
    assert sum(len(case.calls) for case in told.timeline.cases.values()) > 10


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"PK\x03\x04"])
def test_what_is_no_run_is_refused(content: bytes, tmp_path: Path) -> None:
    """Naming the file."""
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises((DocumentError, EventError), match=str(path)):
        reading.read(path)


def test_a_recording_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """There is no gate then; one cut off before its first event is refused."""
    path = recording(tmp_path / "x")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    told = reading.read(path)
    assert told.run.gate is None
    assert told.run.cases
    path.write_bytes(whole[:12])
    with pytest.raises(DocumentError, match="holds no run"):
        reading.read(path)


@pytest.mark.parametrize(
    "strange",
    [{"kind": "keep"}, {"kind": "case_started", "case": "x"}, {"kind": "metric", "case": "x", "metric": {"name": 1}}],
)
def test_strange_events_of_a_recording_crash_nothing(strange: dict[str, Any], tmp_path: Path) -> None:
    """Kinds that nobody knows are passed over; a known kind whose map makes no sense is said, with the file."""
    path, first = tmp_path / "x", next(iter(events()))
    told = [first, {**first, "seq": 1, **strange}]
    frames = [pack(event) for event in told]
    path.write_bytes(MAGIC + b"".join(LENGTH.pack(len(frame)) + frame for frame in frames))
    if strange["kind"] == "metric":
        with pytest.raises(DocumentError, match="metric event makes no sense"):
            reading.read(path)
    else:
        assert reading.read(path).run.run_id == first["run"]


def test_the_verb_prints_writes_and_says_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --report the terminal's text; 4 if one failed, with the others written."""
    run = str(recording(tmp_path / "run.pgrun"))
    assert cli.main(["report", run]) == 0
    assert "gate fails (exit 1)" in capsys.readouterr().out
    assert cli.main(["report", run, "--report", "markdown=-", "--export", f"csv={tmp_path / 's.csv'}"]) == 0
    assert capsys.readouterr().out.startswith("### ")
    assert (tmp_path / "s.csv").stat().st_size > 1000
    assert cli.main(["report", run, "--report", f"json={tmp_path / 'run.json'}"]) == 0
    document = str(tmp_path / "run.json")
    status = cli.main(["report", document, "--report", f"perfetto={tmp_path / 'p'}", "--report", "junit=-"])
    said = capsys.readouterr()
    assert status == 4
    assert "give the recording" in said.err
    assert said.out.startswith("<?xml")
    assert not (tmp_path / "p").exists()


def test_the_page_on_reports_has_every_kind() -> None:
    """And no other."""
    page = (Path(__file__).parents[3] / "docs" / "reports.md").read_text(encoding="utf-8")
    table = page.partition("| --- | --- | --- |\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", "".join(row.split("|")[1] for row in table.splitlines()))) == set(KINDS)


def test_a_page_shows_the_trends_of_a_history(tmp_path: Path) -> None:
    """Of what is gated, once the history has two runs of it; the history alone knows what it lacks."""
    pytest.importorskip("sqlalchemy", reason="perfguard[history] is not installed")
    pytest.importorskip("alembic", reason="perfguard[history] is not installed")
    from perfguard.history import open_history

    run = replace(story().run, commit={"id": "c0ffee", "branch": "main", "dirty": False})
    with open_history(tmp_path / "history.db") as history:
        for day in range(1, 6):
            history.add(replace(run, run_id=f"run-{day}", started=f"2025-11-0{day}T00:00:00+00:00"))
    page = tmp_path / "run.html"
    command = ["report", str(recording(tmp_path / "run.pgrun")), "--report", f"html={page}"]
    assert cli.main([*command, "--history", str(tmp_path / "history.db")]) == 0
    assert "time over 5 runs: 2.75 ms, now 2.75 ms" in page.read_text()
    assert cli.main([*command, "--history", str(tmp_path / "none.db")]) == 4
    assert cli.main(command) == 0
    assert "Trends" not in page.read_text()
