"""A window of time over a recording: which cases, samples and phases lie in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import event_story
import pytest

from perfguard.errors import EventError
from perfguard.events.framing import MAGIC, record_of
from perfguard.events.gather import Gatherer
from perfguard.events.schema import KINDS, Event, pack
from perfguard_tui.draw.phases import phase_rows
from perfguard_tui.store import Store
from perfguard_tui.views import CaseView, RunView
from perfguard_tui.window import Window, WindowPhases, read_phases, windowed

EVENTS = event_story.events()


@pytest.fixture(scope="module")
def run() -> RunView:
    store = Store()
    store.apply_all(EVENTS)
    return store.snapshot()


@pytest.fixture
def case(run: RunView) -> CaseView:
    return run.cases[3]


@pytest.fixture
def window(case: CaseView) -> Window:
    """A second of the case's rounds, its warm-up among them."""
    assert case.began_s is not None
    return case.began_s + 0.3, case.began_s + 2.0


def in_window(window: Window) -> Iterator[Event]:
    low, high = (EVENTS[0]["t_ns"] + int(at_s * 1e9) for at_s in window)
    return (event for event in EVENTS if event["kind"] == "round" and low <= event["t_ns"] <= high)


def write(path: Path, *, gathered: bool) -> Path:
    """The story as a recording, its rounds in frames of their own or many together."""
    gatherer = Gatherer(EVENTS[0]["run"], EVENTS[0]["src"])
    with path.open("wb") as file:
        file.write(MAGIC)
        for event in EVENTS:
            if gathered and event["kind"] == "round":
                assert gatherer.add(event["seq"], event["t_ns"], {name: event[name] for name in KINDS["round"]})
                continue
            file.writelines(record_of(frame) for frame, _, _ in gatherer.frames())
            gatherer.clear()
            file.write(record_of(pack(event)))
    return path


def test_a_window_keeps_what_lies_in_it(run: RunView, case: CaseView, window: Window) -> None:
    """Cases that ran in it, their samples in it, its part of the log; others are gone."""
    low, high = window
    part = windowed(run, window)
    assert [one.id for one in part.cases] == [case.id]
    series = part.cases[0].series[0]
    assert 0 < series.n < case.series[0].n
    assert series.points is not None
    assert ((series.points[0] >= low) & (series.points[0] <= high)).all()
    assert all(low <= entry.t_s <= high for entry in part.log)
    assert windowed(run, None) is run


@pytest.mark.parametrize("gathered", [False, True])
def test_phases_of_a_window_are_the_means_of_its_timed_rounds(
    tmp_path: Path, case: CaseView, window: Window, gathered: bool
) -> None:
    """Of every round between its ends that is no warm-up, whatever frames they came in; of no other case."""
    expected = [event for event in in_window(window) if not event["warmup"]]
    assert 5 < len(expected) < sum(1 for _ in in_window(window))
    found = read_phases(write(tmp_path / "a.pgrun", gathered=gathered), EVENTS[0]["t_ns"], window)
    assert found is not None
    assert list(found.by_case) == [case.id]
    call_s, phases = found.by_case[case.id]
    assert call_s == pytest.approx(sum(event["value"] for event in expected) / len(expected))
    for path, self_s in phases:
        assert self_s == pytest.approx(sum(event["phases"][path] for event in expected) / len(expected))


def test_a_case_that_is_cut_has_the_phases_of_the_window(run: RunView, case: CaseView, window: Window) -> None:
    """Bars are those of the window once read; until then the whole case's, and it says so. A whole case keeps its."""
    before = windowed(run, window)
    assert before.cases[0].account == case.account
    assert "until they are read" in before.cases[0].notes[0]
    read = WindowPhases(window, {case.id: (2.0, (("rpc", 0.5),))})
    part = windowed(run, window, read).cases[0]
    assert [(row.path, row.self_s) for row in phase_rows(part)] == [("rpc", 0.5), ("unaccounted", 1.5)]
    assert "all else is the window's" in part.notes[0]
    assert windowed(run, (window[0], window[1] + 1e-9), read).cases[0].account == case.account, "of another window"
    assert windowed(run, (0.0, 1e9), WindowPhases((0.0, 1e9), {})).cases[3] is case


def test_a_window_without_rounds_has_no_phases(run: RunView, case: CaseView, window: Window) -> None:
    """Rather than those of other times."""
    assert phase_rows(windowed(run, window, WindowPhases(window, {})).cases[0]) == []


def test_reading_a_window_can_be_given_up(tmp_path: Path, window: Window) -> None:
    """The dashboard may be left at once; a file that is gone is an error that names it."""
    path = write(tmp_path / "a.pgrun", gathered=True)
    assert read_phases(path, EVENTS[0]["t_ns"], window, lambda: True) is None
    path.unlink()
    with pytest.raises(EventError, match=r"a\.pgrun"):
        read_phases(path, EVENTS[0]["t_ns"], window)
