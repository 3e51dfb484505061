"""Runs for tests of reports: the story of a run with every verdict, and one whose names are hostile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from event_story import events

from perfguard.document import BaselineReference, Case, PhaseChange, Run
from perfguard.events.fold import fold
from perfguard.events.framing import LENGTH, MAGIC
from perfguard.events.schema import pack
from perfguard.report.source import Source
from perfguard.report.timeline import told

HOSTILE = (
    "<script>alert(1)</script>",
    "]]></x><![CDATA[",
    '"onmouseover="x',
    "`` ` @team #1 | a \\| b ``",
    "\x00\x1b[31m\ud83d\n\r\t=1+1",
    "</details>\n\n# head\n![i](http://x.invalid/i)",
    "{}%s",
    "",
)


def story() -> Source:
    """Ten cases with every verdict, phases and spans of two lanes."""
    stream = events()
    return Source(fold(stream), told(stream))


def recording(path: Path) -> Path:
    """The story as a `.pgrun` file."""
    frames = [pack(event) for event in events()]
    path.write_bytes(MAGIC + b"".join(LENGTH.pack(len(frame)) + frame for frame in frames))
    return path


def hostile() -> Run:
    """The story's run with hostile text wherever a project's own text can be."""
    run = story().run
    cases = [_hostile(case, HOSTILE[index % len(HOSTILE)], index) for index, case in enumerate(run.cases)]
    gate = run.gate
    assert gate is not None
    return replace(
        run,
        profile=HOSTILE[0],
        machine={"class": HOSTILE[3], HOSTILE[0]: HOSTILE[5]},
        commit={"id": HOSTILE[0], "branch": HOSTILE[1]},
        cases=tuple(cases),
        gate=replace(gate, reason=" ".join(HOSTILE), missing=(HOSTILE[5],)),
    )


def _hostile(case: Case, text: str, index: int) -> Case:
    def changed(phases: tuple[PhaseChange, ...]) -> tuple[PhaseChange, ...]:
        return tuple(replace(phase, path=f"{text}/{phase.path}") for phase in phases)

    metrics = tuple(
        replace(
            metric,
            name=metric.name if metric.name == "time" else f"{text}{metric.name}",
            change=metric.change and replace(metric.change, phases=changed(metric.change.phases)),
            baseline=metric.baseline and BaselineReference(metric.baseline.median, 3, text, (1.0, 2.0, 3.0)),
        )
        for metric in case.metrics
    )
    account = case.account and replace(
        case.account, phases=tuple(replace(phase, path=f"{text}/{phase.path}") for phase in case.account.phases)
    )
    return replace(
        case,
        id=f"{text}{index}::{text}",
        key=f"{text}{index}::{text}",
        suite=text,
        metrics=metrics,
        account=account,
        notes=(text, *case.notes),
        params={text: text},
    )
