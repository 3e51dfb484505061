"""What stands at a test's line: a sentence for each case that got slower, failed or could not be compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perfguard.ci.place import place_of
from perfguard.ci.workflow import Annotation, Level
from perfguard.document import Case, Metric, Run
from perfguard.gate.policy import words
from perfguard.report.lines import leading
from perfguard.report.words import change_line, phase_change_line

MOST_PHASES = 3


def annotated(run: Run, top: Path, roots: tuple[Path, ...], fail_on: tuple[str, ...]) -> list[Annotation]:
    """The run's annotations, worst first: errors for what fails the gate, warnings for the rest that is slower."""
    found: list[tuple[int, Annotation]] = []
    for case in run.cases:
        file, line = place_of(case.id, top, roots)
        name = case.id.partition("::")[2] or case.id
        found += [
            (severity, Annotation(level, f"{word}: {name}", text, file, line))
            for severity, level, word, text in _about(case, run, fail_on)
        ]
    gone = [] if run.gate is None or "missing" not in fail_on else run.gate.missing
    said = "it was not measured, and there is a figure before"
    found += [(3, Annotation("error", f"missing: {name}", said)) for name in gone if run.case(name) is None]
    found.sort(key=lambda each: each[0])
    untold = () if run.gate is None or "noisy" in fail_on else run.gate.noisy
    if untold:
        notice = f"{words(untold)}: the interval reaches beyond the limit"
        found.append((9, Annotation("notice", f"{len(untold)} noisy", notice)))
    return [annotation for _, annotation in found]


def _about(case: Case, run: Run, fail_on: tuple[str, ...]) -> Iterator[tuple[int, Level, str, str]]:
    if case.status in ("failed", "error"):
        yield 0, "error", "broken", (case.notes[-1] if case.notes else f"the test ended as {case.status}")
        return
    by_verdict = {
        verdict: [m for m in case.metrics if m.gated and m.verdict == verdict] for verdict in ("slower", "noisy")
    }
    if slower := by_verdict["slower"]:
        yield 1, _level("slower", fail_on), "slower", "\n".join(map(_told, slower))
    if by_verdict["noisy"] and "noisy" in fail_on:
        yield 2, "error", "noisy", "\n".join(map(_told, by_verdict["noisy"]))
    if run.gate is not None and case.id in run.gate.missing and "missing" in fail_on:
        yield 3, "error", "missing", "; ".join(case.notes) or "there is nothing to compare it with"


def _level(verdict: str, fail_on: tuple[str, ...]) -> Level:
    return "error" if verdict in fail_on else "warning"


def _told(metric: Metric) -> str:
    phases = [] if metric.change is None else leading(metric.change.phases)
    return "\n".join([change_line(metric), *(phase_change_line(phase) for phase in phases[:MOST_PHASES])])
