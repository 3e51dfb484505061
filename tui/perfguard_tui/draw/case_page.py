"""The case page: how its samples are spread and in what order they came, what changed, and by which phase."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from perfguard.document import Metric
from perfguard.units import format_change, format_value
from perfguard_tui.draw.alternatives import draw_alternatives
from perfguard_tui.draw.changes import draw_changes
from perfguard_tui.draw.chart import Curve, Look, draw_chart
from perfguard_tui.draw.distribution import draw_ecdf, draw_histogram
from perfguard_tui.draw.live import band_of, headline_series
from perfguard_tui.draw.metrics import draw_metrics, draw_notes
from perfguard_tui.draw.page import Drawn, columns_of, joined, wrapped
from perfguard_tui.draw.phases import draw_phases
from perfguard_tui.draw.waterfall import draw_waterfall
from perfguard_tui.lines import Line, line
from perfguard_tui.points import Floats
from perfguard_tui.views import CaseView, SeriesView, SpanView

if TYPE_CHECKING:
    from perfguard.baselines import BaselineMetric

TWO_COLUMNS_FROM = 110
_NONE: Floats = np.empty(0)


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What is known of a case beside its events.

    `stored`: its headline's process runs in the baselines; `before` and `before_name`: the samples of another run or
    of the marked case; `environment`: in what the machine differs; `sample`: the chosen sample, a position.
    """

    stored: BaselineMetric | None = None
    before: Floats | None = None
    before_name: str = ""
    environment: Sequence[str] = ()
    sample: int = -1
    log: bool = False


def draw_case(case: CaseView | None, facts: CaseFacts, width: int, height: int) -> Drawn:
    """Two columns from 110 cells on: figures and reasons at the left, pictures of the samples at the right."""
    if case is None:
        return Drawn([((" no case selected: 1 and j k choose one", "dim"),)])
    two = width >= TWO_COLUMNS_FROM
    left_width, right_width = columns_of(width) if two else (width - 1, width - 1)
    pictures = _pictures(case, facts, right_width, max(20, height - 1 if two else 26))
    reasons = [draw_changes(case, left_width), draw_phases(case, left_width)]
    figures = [
        draw_alternatives(case, left_width),
        draw_metrics(case, left_width),
        _environment(facts, left_width),
        draw_notes(case, left_width),
        draw_waterfall(case, left_width),
    ]
    if two:
        return Drawn(joined(*reasons, *figures), joined(*pictures))
    return Drawn(joined(reasons[0], *pictures[:2], reasons[1], *figures, *pictures[2:]))


def draw_sample(case: CaseView, facts: CaseFacts, raw: Sequence[Mapping[str, Any]], width: int) -> Drawn:
    """One sample: where it stands among the others, its spans if that round's were recorded, its record as it came."""
    series, metric = headline_series(case)
    if series is None or series.points is None or not len(series.points[0]):
        return Drawn([((" no sample to open", "dim"),)])
    at = facts.sample % len(series.points[0])
    t_s, index, values = (float(column[at]) for column in series.points)
    unit, kind = (metric.unit, metric.kind) if metric is not None else ("s", "time")
    rank = float((series.points[2] <= values).mean())
    facts_shown = [
        ("value", format_value(values, unit, kind)),
        ("against the median", format_change(values / series.median) if series.median else ""),
        ("larger than", f"{rank:.0%} of the samples"),
        ("round", f"{index:.0f}"),
        ("at", f"{t_s:.3f} s of the run"),
        *((f"param {name}", str(value)) for name, value in case.params.items()),
    ]
    head: list[Line] = [line((f" sample {at + 1} of {len(series.points[0])}: {series.metric}", "header"))]
    head += [line((f"   {name:<20}", "dim"), (value, "text")) for name, value in facts_shown if value]
    spans = dict(case.calls).get(int(index)) or _spans_in(raw)
    call: list[Line] = [((" spans of this round were not recorded: one call in some is", "dim"),)]
    if spans:
        call = draw_waterfall(replace(case, spans=spans), width)
    record: list[Line] = [((" raw record", "header"),)]
    for event in raw:
        shown = {name: value for name, value in event.items() if name != "spans"}
        if "spans" in event:
            shown["spans"] = f"{len(event['spans'])} spans"
        text = json.dumps(shown, ensure_ascii=False, default=str)
        record += wrapped(text[:4000], width)
    if len(record) == 1:
        record.append(((" no longer in memory: only the latest rounds are", "dim"),))
    return Drawn(joined(head, call, record))


def _spans_in(raw: Sequence[Mapping[str, Any]]) -> tuple[SpanView, ...]:
    """The spans among a round's events; none where their shape is wrong."""
    try:
        return tuple(
            SpanView(str(path), str(lane), int(start_ns), max(int(start_ns), int(end_ns)))
            for event in raw
            for path, lane, start_ns, end_ns in event.get("spans", ())
        )
    except (TypeError, ValueError):
        return ()


def _pictures(case: CaseView, facts: CaseFacts, width: int, height: int) -> list[list[Line]]:
    series, metric = headline_series(case)
    if series is None or series.points is None or not len(series.points[0]):
        what = "no timed rounds" if case.state not in ("planned", "running") else "no rounds yet"
        return [[((f" {what}: nothing to picture", "dim"),)], [], []]
    unit, kind = (metric.unit, metric.kind) if metric is not None else ("s", "time")
    chart_rows, histogram_rows = max(8, height * 3 // 10), max(8, height * 7 // 20)
    values = series.points[2]
    before = facts.before if facts.before is not None else _NONE
    medians = () if facts.stored is None else facts.stored.medians
    chart = _in_order(series, metric, facts, width, chart_rows)
    if facts.before_name:
        chart = [*chart, line((" before: ", "dim"), (facts.before_name, "text"))]
    return [
        chart,
        draw_histogram(values, before, width, histogram_rows, unit=unit, kind=kind, medians=medians, log=facts.log),
        draw_ecdf(values, before, width, max(7, height - chart_rows - histogram_rows - 3), unit=unit, kind=kind)
        if not medians or len(before)
        else draw_ecdf(
            values,
            before,
            width,
            max(7, height - chart_rows - histogram_rows - 3),
            unit=unit,
            kind=kind,
            medians=medians,
        ),
    ]


def _in_order(series: SeriesView, metric: Metric | None, facts: CaseFacts, width: int, height: int) -> list[Line]:
    assert series.points is not None
    _, index, values = series.points
    unit, kind = (metric.unit, metric.kind) if metric is not None else ("s", "time")
    curves = [Curve(index, values)]
    title = f"samples in order: {series.metric}, n={series.n}"
    if facts.sample >= 0:
        at = facts.sample % len(values)
        title = f"sample {at + 1} of {len(values)}: {format_value(float(values[at]), unit, kind)}  (enter opens it)"
        ends = np.linspace(float(values.min()), float(values.max()), 4 * height)
        curves.append(Curve(np.full(len(ends), index[at]), ends, "accent"))
    return draw_chart(
        curves,
        width,
        height,
        Look(
            title=title,
            unit=unit,
            kind=kind,
            log=facts.log,
            band=band_of(metric),
            level=series.median,
            ends=(
                f"round {index[0]:.0f}" + (f", after {series.warmup} of warm-up" if series.warmup else ""),
                f"{index[-1]:.0f}",
            ),
        ),
    )


def _environment(facts: CaseFacts, width: int) -> list[Line]:
    lines: list[Line] = [((" environment, against the baseline's", "header"),)]
    for text in facts.environment:
        lines += wrapped(text, width)
    stored = facts.stored
    if stored is not None:
        first, last = stored.process_runs[0], stored.process_runs[-1]
        lines += wrapped(
            f"baseline: {len(stored.process_runs)} process runs, {first.date} {first.commit[:10]} to "
            f"{last.date} {last.commit[:10]}, {stored.source}",
            width,
        )
    return lines if len(lines) > 1 else []
