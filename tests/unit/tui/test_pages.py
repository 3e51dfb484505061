"""The pages as drawings: what each must say, and that none is wider than its screen."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import event_story
import numpy as np
import pytest
from event_story import CASES, Told

from perfguard import baselines, document
from perfguard_tui.comparing import compare, own_comparison
from perfguard_tui.doctor import Busy, Reading
from perfguard_tui.documents import events_of
from perfguard_tui.draw.page import Drawn
from perfguard_tui.draw.pictures import size_of
from perfguard_tui.draw.scrub import draw_scrub
from perfguard_tui.export import as_csv, as_html, as_json, document_of, markdown_row, rerun_command, write_new
from perfguard_tui.feed import FeedStatus
from perfguard_tui.known import Known
from perfguard_tui.lines import plain, width_of
from perfguard_tui.pages import Scene, draw_page
from perfguard_tui.state import PAGES, State
from perfguard_tui.store import Store
from perfguard_tui.views import RunView

SLOWER = CASES[5].id
READING = Reading(busy=0.5, load=(1.0, 2.0, 3.0), cpus=2, others=(Busy(4711, "cc1plus", 0.9),))


def _run(cases: tuple[Told, ...] = CASES, seed: int = 7) -> RunView:
    store = Store()
    store.apply_all(event_story.events(cases, seed=seed))
    return store.snapshot()


@pytest.fixture(scope="module")
def run() -> RunView:
    return _run()


@pytest.fixture(scope="module")
def known(run: RunView, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Nine stored process runs, the last four a fifth slower."""
    folder = tmp_path_factory.mktemp("baselines")
    for day in range(9):
        slow = tuple(replace(told, median_s=told.median_s * (1.2 if day > 4 else 1.0), ratio=1.0) for told in CASES[:9])
        stored = document_of(_run(slow, seed=day))
        commit = {"id": f"{day}" * 12, "dirty": False}
        run_of_day = replace(stored, started=f"2025-11-{day + 1:02}T09:00:00Z", commit=commit, run_id=f"r{day}")
        baselines.update(folder, run_of_day)
    return Known(folder)


def _draw(page: str, run: RunView, known: Known, width: int = 120, height: int = 40, **state: object) -> Drawn:
    chosen = State(page=page, selected=SLOWER, **state)  # type: ignore[arg-type]
    scene = Scene(run, run.case(SLOWER), chosen, FeedStatus("finished", gaps=2), known, readings=(READING, READING))
    return draw_page(scene, width, height)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("live", "replay")])
def test_no_page_is_wider_than_its_screen(run: RunView, known: Known, page: str, width: int) -> None:
    """With and without an opened sample, a logarithmic axis, an empty run."""
    for shown in (run, RunView()):
        for opened in (False, True):
            drawn = _draw(page, shown, known, width, 30, opened=opened, log_axis=opened)
            room = width if not drawn.side else width * 11 // 20
            assert max(map(width_of, drawn.main)) <= room
            assert max(map(width_of, drawn.side), default=0) <= width - room


def test_the_case_page_says_why(run: RunView, known: Known) -> None:
    """The phase behind the change, the rest, the samples' distribution, where the baseline comes from."""
    drawn = _draw("case", run, known, 120, 50)
    text = plain([*drawn.main, *drawn.side])
    for part in ("rpc/copy", "= 96% of the change", "unaccounted", "samples in order", "histogram", "baseline:"):
        assert part in text
    assert "environment" in text


def test_a_sample_is_opened_with_what_is_known_of_it(run: RunView, known: Known) -> None:
    """Its place among the others; its spans if that round was recorded, a plain sentence if not."""
    recorded = plain(_draw("case", run, known, opened=True, cursor={"case": 20}).main)
    assert "sample 21 of 60" in recorded
    assert "one call" in recorded
    assert "not recorded" in plain(_draw("case", run, known, opened=True, cursor={"case": 3}).main)


def test_history_finds_the_step_and_the_command(run: RunView, known: Known) -> None:
    """The commits around the change point, and a bisect between them."""
    text = plain(_draw("history", run, known, 120, 60).main)
    assert "9 stored process runs" in text
    assert "between 4444444444 and 5555555555" in text
    assert "perfguard bisect 4444444444 5555555555 --" in text


def test_compare_is_sorted_by_certainty(run: RunView) -> None:
    """What changed for certain comes first; two runs of one code have nothing slower."""
    rows = own_comparison(run).rows
    assert rows[0].metric.verdict in ("slower", "faster")
    now = document_of(run)
    quicker = tuple(replace(told, ratio=1.0) for told in CASES[:9])
    before = document_of(_run(quicker, seed=8))
    comparison = compare(before, now, "before", "now")
    assert comparison.gone == ()
    assert any("one process run each" in note for note in comparison.notes)
    certain = [row.certainty for row in comparison.rows if row.metric.verdict in ("same", "noisy", "new")]
    assert certain == sorted(certain, reverse=True)
    same = compare(now, now, "a", "a")
    assert not [row for row in same.rows if row.metric.verdict in ("slower", "faster")]


def test_the_doctor_names_who_disturbs(run: RunView, known: Known) -> None:
    """The process and its share, the run's own noise, what was dropped."""
    text = plain(_draw("doctor", run, known).main)
    for part in ("cc1plus", "4711", "90%", "2 missing by their numbers", "others in the run", "a clock reading"):
        assert part in text


def test_pictures_are_made_of_parameters() -> None:
    """Sizes make a curve, names a ladder; nothing else is asked of a suite."""
    cases = tuple(Told(f"test_echo[{n}]", 1e-3 * (i + 1), "same") for i, n in enumerate("abcdefgh"))
    events = event_story.events(cases, rounds=2)
    for planned, size in zip(events[0]["plan"], ["empty", "4KiB", "1MiB", 64] * 2, strict=True):
        planned["params"] = {"size": size, "kind": "shm" if planned["id"] < cases[4].id else "tcp"}
    store = Store()
    store.apply_all(events)
    text = plain(_draw("pictures", store.snapshot(), Known(None)).main)
    assert "echo by size" in text
    assert "━ shm" in text
    for i, planned in enumerate(events[0]["plan"]):
        planned["params"] = {"variant": f"step-{i}x"}
    store.reset()
    store.apply_all(events)
    text = plain(_draw("pictures", store.snapshot(), Known(None)).main)
    assert "echo by variant" in text
    assert "1.00 x" in text
    assert [size_of(one) for one in ("empty", "4KiB", 7, "1.5MiB", "shm", True)] == [0, 4096, 7, 1572864, None, None]


def test_the_scrub_bar_shows_where_it_is_and_where_it_was_cut() -> None:
    """Position, window, and scissors at a cut end."""
    state = State(window=(2.0, 8.0))
    lines = draw_scrub(5.0, 10.0, (1, 5, 0, 2), state, 80, playing=True, pace=20.0, cut=True)
    text = plain(lines)
    assert "5.0 s of 10.0 s" in text
    assert "20x" in text
    bar = plain(lines[2:])
    assert bar.index("[") < bar.index("●") < bar.index("]") < bar.index("✂")
    assert all(width_of(line) <= 80 for line in lines)


def test_a_document_tells_what_it_holds(run: RunView) -> None:
    """JSON exported is a run document; told as events again it shows the same cases and verdicts."""
    again = document.from_json(json.loads(as_json(run)))
    store = Store()
    store.apply_all(events_of(again))
    shown = store.snapshot()
    assert [case.verdict for case in shown.cases] == [case.verdict for case in run.cases]
    assert (shown.bad, shown.gate) == (0, run.gate)


def test_nothing_exported_is_run_by_whoever_opens_it() -> None:
    """Formulas in CSV, markup in HTML, bars in Markdown, quotes in the shell: all stay text."""
    evil = Told("=cmd()<script>alert('x')</script>|b|", 1e-3, "same")
    run = _run((replace(evil, suite="@s"),))
    case = replace(run.cases[0], id="=1+1", suite="@sum")
    row = list(csv.reader(io.StringIO(as_csv((case,)))))[1]
    assert row[:2] == ["'=1+1", "'@sum"]
    assert float(row[6]) > 0
    page = as_html(run, run.cases, "<svg/>")
    assert "<script>" not in page
    assert "\\|b\\|" in markdown_row(run.cases[0])
    assert rerun_command(replace(case, id="a'b")) == "pytest --perfguard 'a'\\''b'"


def test_an_export_never_overwrites(tmp_path: Path) -> None:
    """The second file gets a number; a name with a slash stays in the folder."""
    first = write_new(tmp_path, "../x", "csv", "a")
    second = write_new(tmp_path, "../x", "csv", "b")
    assert {first.parent, second.parent} == {tmp_path}
    assert (first.read_text(encoding="utf-8"), second.read_text(encoding="utf-8")) == ("a", "b")


def test_figures_of_the_run_survive_a_fold(run: RunView) -> None:
    """Points keep time, round and value of each sample."""
    case = run.case(SLOWER)
    assert case is not None
    points = case.series[0].points
    assert points is not None
    assert len(points[0]) == case.series[0].n == 60
    assert (np.diff(points[0]) > 0).all()
