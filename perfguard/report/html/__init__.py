"""The run as one HTML file that needs nothing else: verdicts first, then every figure, every case, the machine.

No request leaves the page: style, script and pictures are in it, and its content security policy forbids the rest. The
script sorts and filters the table; without it all is there, worst first. It prints, and it follows light or dark.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from perfguard import __version__
from perfguard.document import Case, Change, Metric, Run
from perfguard.report.html import charts
from perfguard.report.html.cases import section, word
from perfguard.report.html.svg import Markup, joined, tag
from perfguard.report.lines import WORST_FIRST, verdict_counts, worst_verdict
from perfguard.report.source import Source, Trend
from perfguard.report.timeline import Timeline, waterfall
from perfguard.report.words import BASES
from perfguard.units import format_change, format_change_interval, format_interval, format_value

CHANGED = ("broken", "slower", "faster", "missing")
_HEADS = (
    ("verdict", ""),
    ("case", ""),
    ("metric", ""),
    ("before", "n"),
    ("now", "n"),
    ("change", "n"),
    ("between", ""),
    ("limit", "n"),
    ("interval of now", ""),
    ("samples", "n"),
    ("suite", ""),
)


def report(source: Source) -> str:
    """The text of the file, for the registry of reports."""
    return render(source.run, source.trends, source.timeline)


def render(run: Run, trends: Sequence[Trend] = (), timeline: Timeline | None = None) -> str:
    """The page. `timeline` brings waterfalls of calls, `trends` the figures of earlier runs."""
    style, script = _asset("style.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    word_ = "passes" if run.gate is not None and run.gate.exit_status == 0 else "fails"
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", f"perfguard {word_}: {_counts(run)}"),
        tag("style", style),
    )
    ordered = sorted(enumerate(run.cases), key=lambda each: WORST_FIRST.index(worst_verdict(each[1])))
    body = tag(
        "body",
        tag("header", *_verdict(run)),
        tag("main", *_main(run, [(f"case-{place}", case) for place, case in ordered], trends, timeline)),
        tag("footer", f"perfguard {__version__}, run {run.run_id}"),
        tag("script", script),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _asset(name: str) -> Markup:
    return Markup(files(__name__).joinpath(name).read_text(encoding="utf-8"))


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _counts(run: Run) -> str:
    counts = verdict_counts(run)
    return ", ".join(f"{counts[name]} {name}" for name in WORST_FIRST if name in counts) or "nothing was gated"


def _verdict(run: Run) -> Iterator[Markup]:
    gate = run.gate
    if gate is None:
        title, reason, look = "The run did not end", "What follows is as far as it came.", "fails"
    elif gate.exit_status == 0:
        title, reason, look = "✓ The gate passes", gate.reason, "passes"
    else:
        title, reason, look = "✕ The gate fails", gate.reason, "fails"
    counts = verdict_counts(run)
    chips = [tag("li", word(name), f" {counts[name]}", class_="chip") for name in WORST_FIRST if name in counts]
    yield tag(
        "div",
        tag("h1", title),
        tag("p", reason),
        tag("ul", *chips, class_="chips", aria_label="gated metrics by verdict"),
        class_=f"verdict {look}",
    )
    commit = run.commit
    told = {
        "commit": " ".join(
            part
            for part in (
                str(commit.get("id", ""))[:12],
                f"on {commit['branch']}" if commit.get("branch") else "",
                "with local changes" if commit.get("dirty") else "",
            )
            if part
        ),
        "run": f"{run.run_id}, {run.started}, profile {run.profile}",
        "machine": str(run.machine.get("class", "unknown")),
    }
    yield _facts(told)


def _facts(told: Mapping[str, object]) -> Markup:
    pairs = (joined((tag("dt", name), tag("dd", value))) for name, value in told.items() if value not in ("", None))
    return tag("dl", *pairs, class_="facts")


def _main(
    run: Run, cases: Sequence[tuple[str, Case]], trends: Sequence[Trend], timeline: Timeline | None
) -> Iterator[Markup]:
    drawn = {
        anchor: section(case, anchor, waterfall(timeline, case.id), unfolded=_changed(case)) for anchor, case in cases
    }
    changed = [drawn[anchor] for anchor, case in cases if _changed(case)]
    if changed:
        yield tag("h2", "What changed")
        yield from changed
    yield tag("h2", "All figures")
    yield from _figures(cases)
    rest = [drawn[anchor] for anchor, case in cases if not _changed(case)]
    if rest:
        yield tag("h2", "The other cases" if changed else "Cases")
        yield from rest
    yield from _trends(run, trends)
    yield from _environment(run)


def _changed(case: Case) -> bool:
    return worst_verdict(case) in CHANGED


def _figures(cases: Sequence[tuple[str, Case]]) -> Iterator[Markup]:
    found = [(anchor, case, metric) for anchor, case in cases for metric in case.metrics]
    if not found:
        yield tag("p", "No case has figures.")
        return
    verdicts = [name for name in (*WORST_FIRST, "none") if any(_of(metric) == name for _, _, metric in found)]
    boxes = [
        tag("label", Markup(f'<input type="checkbox" value="{name}" checked>'), " ", _named(name)) for name in verdicts
    ]
    yield tag(
        "div",
        tag("label", "Filter ", Markup('<input type="search" id="search" autocomplete="off">')),
        *boxes,
        tag("span", id="shown", class_="soft", role="status"),
        class_="tools",
    )
    found.sort(key=lambda each: [*WORST_FIRST, "none"].index(_of(each[2])))
    heads = tag("tr", *(tag("th", name, scope="col", class_=class_ or None) for name, class_ in _HEADS))
    rows = [_row(anchor, case, metric) for anchor, case, metric in found]
    table = tag("table", tag("thead", heads), tag("tbody", *rows), id="figures", aria_label="all figures")
    yield tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="all figures, scrollable")
    if any(_by_other_figures(metric.change) for _, _, metric in found):
        yield tag("p", "* the change is of the fastest rounds, not of the medians shown", class_="soft")


def _named(verdict: str) -> Markup:
    return tag("span", "not judged", class_="w w-same") if verdict == "none" else word(verdict)


def _of(metric: Metric) -> str:
    return metric.verdict or "none"


def _row(anchor: str, case: Case, metric: Metric) -> Markup:
    known, change = metric.baseline, metric.change
    rank = [*WORST_FIRST, "none"].index(_of(metric))
    cells = [
        tag("td", word(_of(metric)) if metric.verdict else "", data_key=rank),
        tag("td", tag("a", case.id, href=f"#{anchor}", class_="name"), class_="long"),
        tag("td", metric.name, "" if metric.gated else " (not gated)"),
        tag(
            "td",
            "" if known is None else format_value(known.median, metric.unit, metric.kind),
            class_="n",
            data_key=None if known is None else repr(known.median),
        ),
        tag("td", format_value(metric.median, metric.unit, metric.kind), class_="n", data_key=repr(metric.median)),
        tag(
            "td",
            "" if change is None else format_change(change.ratio),
            class_="n",
            data_key=None if change is None else repr(change.ratio),
        ),
        tag("td", "" if change is None else "exact" if metric.limit == 0 else _interval(change)),
        tag("td", f"{metric.limit:.0%}" if metric.gated else "", class_="n", data_key=repr(metric.limit)),
        tag("td", format_interval(*metric.ci, metric.unit, metric.kind) if metric.n > 1 else ""),
        tag("td", metric.n, class_="n"),
        tag("td", case.suite),
    ]
    return tag("tr", *cells, data_verdict=_of(metric))


def _interval(change: Change) -> str:
    return format_change_interval(change.ci) + (" *" if _by_other_figures(change) else "")


def _by_other_figures(change: Change | None) -> bool:
    return change is not None and change.basis in BASES


def _trends(run: Run, trends: Sequence[Trend]) -> Iterator[Markup]:
    kinds = {(case.key, metric.name): metric.kind for case in run.cases for metric in case.metrics}
    drawn = [
        tag(
            "div",
            tag("h3", tag("span", trend.case, class_="name"), f" {trend.metric}"),
            picture,
        )
        for trend in trends
        if (picture := charts.trend(trend, kinds.get((trend.case, trend.metric), ""))) is not None
    ]
    if drawn:
        yield tag("h2", "Trends")
        yield tag("div", *drawn, class_="pair")


def _environment(run: Run) -> Iterator[Markup]:
    yield tag("h2", "Environment")
    told: dict[str, object] = dict(run.machine)
    if run.noise is not None:
        noise = run.noise
        told["other processes"] = f"{noise.others:.1%} of all CPUs, at worst {noise.others_worst:.1%} after a case"
        told["stolen by the hypervisor"] = f"{noise.steal:.1%} of all CPUs, at worst {noise.steal_worst:.1%}"
    told["commit"] = run.commit.get("id", "")
    told["commit time"] = run.commit.get("time", "")
    told["started"], told["finished"] = run.started, run.finished or "not finished"
    yield _facts(told)
