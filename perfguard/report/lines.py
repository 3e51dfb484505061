"""The terminal's lines as data: text with its markup, for pytest's terminal reporter, a file or the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from perfguard.document import Account, Case, Gate, Metric, PhaseChange, Run
from perfguard.gate.judge import MAIN_METRIC
from perfguard.report.words import (
    GLYPHS,
    account_line,
    again,
    change_line,
    evidence,
    figure,
    is_paired,
    phase_change_line,
)
from perfguard.units import format_change, format_value

COLOURS: Mapping[str, Mapping[str, bool]] = {
    "slower": {"red": True},
    "broken": {"red": True},
    "faster": {"green": True},
    "noisy": {"yellow": True},
    "missing": {"yellow": True},
    "new": {"cyan": True},
    "same": {},
}
WORST_FIRST = ("broken", "slower", "missing", "noisy", "new", "faster", "same")
MOST_NOISY_SHOWN = 12
LEAST_SHARE = 0.02  # of a change: phases with less are not worth naming
INDENT = " " * 21


class Line(NamedTuple):
    """One line; `markup` holds pytest's names of colours and styles."""

    text: str
    markup: Mapping[str, bool] = {}


def case_lines(case: Case, place: str) -> Iterator[Line]:
    """A case that is over: its figures, its account, its notes. `place` is `3/10`, padded."""
    verdict = worst_verdict(case)
    name = case.key.split("::", 1)[-1]
    head = f"  [{place}] {GLYPHS[verdict]} {verdict:<7} {name}"
    yield Line(head if case.metrics else f"{head}  ({case.status})", COLOURS[verdict])
    for metric in worth_showing(case):
        yield Line(f"{INDENT}{_metric_line(metric)}")
    if case.account is not None and case.account.phases:
        yield _account_line(case.account)
    for note in case.notes:
        yield Line(f"{INDENT}note: {first_line(note)[:200]}", {"yellow": True})


def alarm_lines(run: Run) -> Iterator[Line]:
    """What got slower or faster, with its phases, and what could not be told."""
    for case in run.cases:
        for metric in case.metrics:
            if metric.gated and metric.verdict in ("slower", "faster"):
                yield from _alarm(case, metric)
    yield from _noisy(run)


def end_lines(run: Run) -> Iterator[Line]:
    """The counts of verdicts and the gate's decision."""
    yield Line(f"gated metrics: {', '.join(tally(run)) or 'none'}")
    if run.gate is not None:
        yield _gate(run.gate)


def tally(run: Run) -> list[str]:
    """`2 slower`, `3 same`, ...: how many gated metrics have each verdict, worst first."""
    counts = verdict_counts(run)
    return [f"{counts[word]} {word}" for word in WORST_FIRST if word in counts]


def verdict_counts(run: Run) -> dict[str, int]:
    """How many gated metrics have each verdict; verdicts that none has are left out."""
    counts: dict[str, int] = {}
    for case in run.cases:
        for metric in case.metrics:
            if metric.gated and metric.verdict is not None:
                counts[metric.verdict] = counts.get(metric.verdict, 0) + 1
    return counts


def worst_verdict(case: Case) -> str:
    """The verdict a case is listed under: its worst gated metric's, or what its status says."""
    if case.status in ("failed", "error"):
        return "broken"
    verdicts = {metric.verdict for metric in case.metrics if metric.gated}
    return next((word for word in WORST_FIRST if word in verdicts), "same")


def worth_showing(case: Case) -> Sequence[Metric]:
    """Gated metrics, and `time`; a comparison's single times are in the document and the dashboard."""
    return [m for m in case.metrics if m.gated or m.name == MAIN_METRIC] or list(case.metrics)


def leading(phases: Sequence[PhaseChange]) -> list[PhaseChange]:
    """The phases worth naming: those that carry at least 2 % of the change."""
    return [phase for phase in phases if abs(phase.share) >= LEAST_SHARE]


def first_line(text: str) -> str:
    """The first line that says something, "" if none does."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _account_line(account: Account) -> Line:
    return Line(f"{INDENT}{account_line(account)}", {"light": True})


def _alarm(case: Case, metric: Metric) -> Iterator[Line]:
    verdict = metric.verdict or "same"
    yield Line(f"{GLYPHS[verdict]} {verdict}: {case.id}", {"bold": True, **COLOURS[verdict]})
    yield Line(f"    {change_line(metric)}")
    if metric.change is not None:
        for phase in leading(metric.change.phases):
            yield Line(f"    {phase_change_line(phase)}")
    yield Line(f"    again: {again([case.id], [metric])}", {"light": True})


def _noisy(run: Run) -> Iterator[Line]:
    noisy = [(c, m) for c in run.cases for m in c.metrics if m.verdict == "noisy" and m.gated]
    if not noisy:
        return
    yield Line(f"? noisy: {len(noisy)} gated metrics whose interval reaches beyond the limit", {"yellow": True})
    for case, metric in noisy[:MOST_NOISY_SHOWN]:
        change = ""
        if metric.change is not None:
            low, high = metric.change.ci
            change = f"{format_change(metric.change.ratio)} [{format_change(low)}, {format_change(high)}], "
        yield Line(
            f"    {case.key.split('::')[-1]} {metric.name}: {change}limit {metric.limit:.0%}, {evidence(metric)}"
        )
    if len(noisy) > MOST_NOISY_SHOWN:
        yield Line(f"    and {len(noisy) - MOST_NOISY_SHOWN} more (--perfguard-json has all)")
    if any(m.baseline is not None and m.baseline.process_runs < 5 and not is_paired(m) for _, m in noisy):
        yield Line("    more process runs in the baseline would narrow it: run --perfguard-update a few times")


def _gate(gate: Gate) -> Line:
    word, colour = ("passes", {"green": True}) if gate.exit_status == 0 else ("fails", {"red": True})
    return Line(f"gate {word} (exit {gate.exit_status}): {gate.reason}", {"bold": True, **colour})


def _metric_line(metric: Metric) -> str:
    line = f"{metric.name:<30} {figure(metric):<34} {metric.verdict or '':<7} "
    if metric.change is None or metric.baseline is None:
        return line
    before = format_value(metric.baseline.median, metric.unit, metric.kind)
    return f"{line}{format_change(metric.change.ratio)} against {before}"
