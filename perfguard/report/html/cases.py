"""One case on the page: what changed and in which phases, how its samples lie, where its time goes, one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfguard.document import Account, Case, Metric
from perfguard.report.html import charts
from perfguard.report.html.svg import Markup, joined, tag
from perfguard.report.lines import leading, worst_verdict, worth_showing
from perfguard.report.timeline import TimedSpan
from perfguard.report.words import BASES, GLYPHS, change_line, evidence, figure
from perfguard.units import format_change, format_change_interval, format_value

MOST_METRICS = 12
MOST_PHASES = 24


def section(case: Case, anchor: str, spans: Sequence[TimedSpan], *, unfolded: bool) -> Markup:
    """The case as a part that folds."""
    verdict = worst_verdict(case)
    main = next(iter(worth_showing(case)), None)
    summary = tag(
        "summary",
        word(verdict),
        tag("span", case.id, class_="name"),
        tag("span", _short(main), class_="soft") if main is not None else "",
    )
    return tag(
        "details",
        summary,
        tag("div", *_inside(case, spans), class_="inside"),
        class_="case",
        id=anchor,
        open=unfolded,
    )


def word(verdict: str) -> Markup:
    """A verdict: a glyph and a word, never colour alone."""
    return tag("span", f"{GLYPHS.get(verdict, '')} {verdict}", class_=f"w w-{verdict}")


def _inside(case: Case, spans: Sequence[TimedSpan]) -> Iterator[Markup]:
    if case.params:
        yield tag("p", joined((f"{name} = {value}" for name, value in case.params.items()), " · "), class_="soft")
    for note in dict.fromkeys(case.notes):
        yield tag("p", tag("strong", "Note: "), note)
    shown = worth_showing(case)
    for metric in shown[:MOST_METRICS]:
        yield from _metric(metric)
    if len(shown) > MOST_METRICS:
        yield tag("p", f"… and {len(shown) - MOST_METRICS} more metrics, in the table above.", class_="soft")
    if case.account is not None:
        parts = [tag("div", *_account(case.account))]
        if spans:
            paths = [phase.path for phase in case.account.phases]
            parts.append(tag("div", tag("h3", "One call"), charts.waterfall(spans, paths)))
        yield tag("div", *parts, class_="pair")
    elif spans:
        yield tag("h3", "One call")
        yield charts.waterfall(spans, list(dict.fromkeys(span.path for span in spans)))


def _metric(metric: Metric) -> Iterator[Markup]:
    judged = word(metric.verdict) if metric.verdict else ""
    if metric.n < 2 and metric.change is None:
        yield tag("p", tag("strong", metric.name), " ", judged, " ", figure(metric))
        return
    told = change_line(metric).removeprefix(f"{metric.name}: ") if metric.change is not None else figure(metric)
    yield tag("h3", metric.name, " ", judged)
    yield tag("p", told)
    pictures = []
    if metric.change is not None and metric.limit > 0:
        pictures.append(tag("div", charts.change(metric, metric.change)))
    drawn = charts.distribution(metric)
    if drawn is not None:
        legend = [tag("span", tag("span", class_="key"), f"now, {metric.n} samples")]
        if metric.baseline is not None:
            runs = f"before, {evidence(metric).removesuffix(' in the baseline')}"
            legend.append(tag("span", tag("span", class_="key before"), runs))
        pictures.append(tag("div", drawn, tag("p", *legend, class_="soft legend")))
    if pictures:
        yield tag("div", *pictures, class_="pair")
    if metric.change is not None and metric.change.phases and metric.verdict in ("slower", "faster"):
        yield _phase_changes(metric)


def _phase_changes(metric: Metric) -> Markup:
    assert metric.change is not None
    phases = leading(metric.change.phases) or list(metric.change.phases)
    largest = max((abs(phase.share) for phase in phases), default=0.0)
    signed = 1 if metric.change.ratio >= 1 else -1
    own = any(phase.ratio is not None for phase in phases)
    rows = [
        tag(
            "tr",
            tag("td", phase.path, class_="name"),
            tag("td", charts.share_bar(phase.share * signed, largest)),
            tag("td", f"{'+' if phase.delta_s >= 0 else '-'}{format_value(abs(phase.delta_s), 's')}", class_="n"),
            tag("td", f"{phase.share:.0%}", class_="n"),
            *([tag("td", _own_change(phase.ratio, phase.ci))] if own else []),
        )
        for phase in phases[:MOST_PHASES]
    ]
    heads = ["phase", "", "a call", "of the change", *(["its own change"] if own else [])]
    head = tag("tr", *(tag("th", name, scope="col", class_="n" if name in heads[2:4] else None) for name in heads))
    table = tag("table", tag("caption", "Which phases changed", class_="soft"), tag("thead", head), tag("tbody", *rows))
    return tag("div", table, class_="scroll")


def _own_change(ratio: float | None, interval: tuple[float, float] | None) -> str:
    if ratio is None or interval is None:
        return ""
    return f"{format_change(ratio)} {format_change_interval(interval)}"


def _account(account: Account) -> Iterator[Markup]:
    wall = account.wall_s or 1.0
    yield tag("h3", "Where the time goes")
    yield charts.account_bar(account)
    rows = [
        tag(
            "tr",
            tag("td", charts.swatch(index), phase.path, class_="name"),
            tag("td", f"{phase.self_s / wall:.1%}", class_="n"),
            tag("td", format_value(phase.median_s, "s"), class_="n"),
            tag("td", f"{phase.count / max(1, account.calls):.3g}", class_="n"),
        )
        for index, phase in enumerate(account.phases[:MOST_PHASES])
    ]
    rows.append(
        tag(
            "tr",
            tag("td", charts.swatch(None), "unaccounted", class_="name"),
            tag("td", f"{account.unaccounted_s / wall:.1%}", class_="n"),
            tag("td", format_value(account.unaccounted_median_s, "s"), class_="n"),
            tag("td"),
        )
    )
    heads = ("phase", "share", "own time a call", "times a call")
    head = tag("tr", *(tag("th", name, scope="col", class_=None if name == "phase" else "n") for name in heads))
    yield tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll")


def _short(metric: Metric) -> str:
    if metric.change is None or metric.baseline is None:
        return figure(metric)
    before = format_value(metric.baseline.median, metric.unit, metric.kind)
    now = format_value(metric.median, metric.unit, metric.kind)
    return f"{before} → {now}, {format_change(metric.change.ratio)}{BASES.get(metric.change.basis, '')}"
