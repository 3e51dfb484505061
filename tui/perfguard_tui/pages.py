"""The pages that are one drawing: which function draws each, out of the run, the state and what else is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perfguard.doctor.machine import Facts
from perfguard_tui.comparing import Comparison, own_comparison
from perfguard_tui.doctor import Reading
from perfguard_tui.draw.case_page import CaseFacts, draw_case, draw_sample
from perfguard_tui.draw.compare_page import draw_compare
from perfguard_tui.draw.doctor_page import draw_doctor
from perfguard_tui.draw.history_page import draw_history
from perfguard_tui.draw.live import headline_series
from perfguard_tui.draw.page import Drawn
from perfguard_tui.draw.pictures import draw_pictures
from perfguard_tui.draw.trend_page import draw_trend
from perfguard_tui.feed import FeedStatus
from perfguard_tui.known import Known
from perfguard_tui.lines import crop
from perfguard_tui.state import State
from perfguard_tui.views import CaseView, RunView


@dataclass(frozen=True, slots=True)
class Scene:
    """What a page may draw. `raw`: the events of the chosen sample's round; `readings`: of the machine, newest last.

    `facts`: what the kernel told of the machine at first and now.
    """

    run: RunView
    case: CaseView | None
    state: State
    feed: FeedStatus
    known: Known
    comparison: Comparison | None = None
    raw: Sequence[Mapping[str, Any]] = ()
    readings: Sequence[Reading] = field(default_factory=tuple)
    facts: tuple[Facts, Facts] | None = None


def draw_page(scene: Scene, width: int, height: int) -> Drawn:
    """The lines of the state's page at that size."""
    drawn = _PAGES[scene.state.page](scene, width, height)
    room = width - 1 if not drawn.side else width * 11 // 20 - 1
    main = [crop(line, room) for line in drawn.main]
    return Drawn(main, [crop(line, width - room - 2) for line in drawn.side], drawn.chosen)


def facts_of(scene: Scene) -> CaseFacts:
    """What is known of the scene's case beside its events."""
    case, state = scene.case, scene.state
    if case is None:
        return CaseFacts()
    series, metric = headline_series(case)
    stored = None if metric is None else scene.known.metric(scene.run, case, metric.name, metric.kind)
    before, before_name = None, ""
    marked = scene.run.case(state.marked) if state.marked != case.id else None
    if marked is not None:
        other, _ = headline_series(marked)
        if other is not None and other.points is not None and len(other.points[2]):
            before, before_name = other.points[2], f"{marked.name} (marked)"
    elif scene.comparison is not None and series is not None:
        samples = scene.comparison.samples.get((case.key or case.id, series.metric))
        if samples:
            before, before_name = np.array(samples), scene.comparison.before
    return CaseFacts(
        stored=stored,
        before=before,
        before_name=before_name,
        environment=scene.known.environment(scene.run) if scene.run.machine_class else (),
        sample=state.cursor.get("case", -1),
        log=state.log_axis,
    )


def _case(scene: Scene, width: int, height: int) -> Drawn:
    facts = facts_of(scene)
    if scene.state.opened and scene.case is not None:
        return draw_sample(scene.case, facts, scene.raw, width)
    return draw_case(scene.case, facts, width, height)


def _compare(scene: Scene, width: int, height: int) -> Drawn:
    comparison = scene.comparison or own_comparison(scene.run)
    return draw_compare(comparison, scene.state.cursor.get("compare", 0), width, height)


def _history(scene: Scene, width: int, height: int) -> Drawn:
    case, stored = scene.case, None
    past = None if case is None else scene.known.past_of(scene.run, case)
    if case is not None and past is not None and past.trend is not None and past.trend.points:
        cursor, log, run_id = scene.state.cursor.get("history", 0), scene.state.log_axis, scene.run.run_id
        return draw_trend(case, case.headline, past, cursor, width, height, log=log, run_id=run_id)
    problem = scene.known.problem or ("" if past is None else past.problem)
    if past is None and scene.known.past.reading:
        problem = "reading the history of runs"
    if case is not None and case.headline is not None:
        stored = scene.known.metric(scene.run, case, case.headline.name, case.headline.kind)
    return draw_history(case, stored, problem, width, height, log=scene.state.log_axis)


def _doctor(scene: Scene, width: int, height: int) -> Drawn:
    return draw_doctor(scene.run, scene.feed, scene.readings, scene.facts, width, height)


def _pictures(scene: Scene, width: int, height: int) -> Drawn:
    return draw_pictures(scene.run, width, height, log=scene.state.log_axis, selected=scene.state.selected)


_PAGES: Mapping[str, Callable[[Scene, int, int], Drawn]] = {
    "case": _case,
    "compare": _compare,
    "history": _history,
    "doctor": _doctor,
    "pictures": _pictures,
}
