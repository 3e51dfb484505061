"""The history page: a case's figure over the process runs that the baselines hold, with change points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from perfguard.units import format_interval, format_value
from perfguard_tui.draw.chart import Curve, Look, draw_chart
from perfguard_tui.draw.page import Drawn, joined, wrapped
from perfguard_tui.lines import Line, crop, line
from perfguard_tui.trend import change_points
from perfguard_tui.views import CaseView

if TYPE_CHECKING:
    from perfguard.baselines import BaselineMetric

SOURCE = "without a history of runs these are the baselines' process runs: see --history and --perfguard-history"


def draw_history(
    case: CaseView | None, stored: BaselineMetric | None, problem: str, width: int, height: int, *, log: bool
) -> Drawn:
    """A chart of medians in their order, then a line for each process run; today's figure last."""
    if case is None:
        return Drawn([((" no case selected: 1 and j k choose one", "dim"),)])
    if stored is None:
        why = problem or f"the baselines hold no process runs of {case.name}"
        return Drawn(joined([((" history", "header"),)], wrapped(why, width), wrapped(SOURCE, width, "dim")))
    medians = np.array(stored.medians)
    now = next((metric for metric in case.metrics if metric.name == stored.name), None)
    everything = medians if now is None else np.append(medians, now.median)
    points = change_points(everything)
    at = np.arange(len(everything), dtype=np.float64)
    curves = [Curve(_between(at), np.interp(_between(at), at, everything), "rule"), Curve(at, everything, "spark")]
    title = f"{stored.name} of {case.name}: {len(medians)} stored process runs" + (
        "" if now is None else " and this run"
    )
    chart = draw_chart(
        curves,
        width - 1,
        max(8, height * 2 // 5),
        Look(
            title=title,
            unit=stored.unit,
            kind=stored.kind,
            log=log,
            level=float(np.median(medians)),
            ends=(
                stored.process_runs[0].date[:10],
                "this run" if now is not None else stored.process_runs[-1].date[:10],
            ),
        ),
    )
    trouble = wrapped(problem, width, "noisy") if problem else []
    source = wrapped(SOURCE, width, "dim")
    return Drawn(joined(chart, _points(case, stored, points, width), _runs(stored, points, width), trouble, source))


def bisect_command(case: CaseView, stored: BaselineMetric) -> str:
    """The command that searches the latest change point's range; for the whole range where there is none."""
    points = [point for point in change_points(np.array(stored.medians)) if point > 0]
    at = points[-1] if points else len(stored.process_runs) - 1
    first = stored.process_runs[at - 1 if points else 0].commit.rstrip("+") or "GOOD"
    last = stored.process_runs[at].commit.rstrip("+") or "BAD"
    return f"perfguard bisect {first} {last} -- '{case.id}'"


def _between(
    at: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.linspace(at[0], at[-1], max(2, 12 * len(at)))


def _points(case: CaseView, stored: BaselineMetric, points: tuple[int, ...], width: int) -> list[Line]:
    lines: list[Line] = [((" change points", "header"),)]
    runs = stored.process_runs
    for point in points:
        before = runs[point - 1].commit[:12] or "an unknown commit"
        after = (runs[point].commit[:12] or "an unknown commit") if point < len(runs) else "this run's commit"
        lines.append(crop(line((" ◆ ", "slower"), (f"between {before} and {after}", "text")), width))
    if not points:
        lines.append(((" none: the figures stay on one level, or are too few (8 at least)", "dim"),))
    lines += wrapped(f"y copies: {bisect_command(case, stored)}", width, "dim")
    return lines


def _runs(stored: BaselineMetric, points: tuple[int, ...], width: int) -> list[Line]:
    lines: list[Line] = [((f" {'date':<22}{'commit':<14}{'n':>5}{'median':>12}  interval", "header"),)]
    for number, run in reversed(list(enumerate(stored.process_runs))):
        interval = format_interval(*run.ci, stored.unit, stored.kind) if run.n > 1 else ""
        median = format_value(run.median, stored.unit, stored.kind)
        mark = ("◆", "slower") if number in points else (" ", "text")
        told = f"{run.date:<22}{run.commit[:12]:<14}{run.n:>5}{median:>12}  {interval}"
        lines.append(crop(line(mark, (told, "text")), width))
    return lines
