"""The fold from events to the run document: the same for the run itself, for a recording and for a viewer.

What is not in the events is not in the document, so a replay of a recording gives the document that the run wrote.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from perfguard import document
from perfguard.document import Case, Gate, Metric, Noise, Run
from perfguard.events.schema import KINDS, Event

if TYPE_CHECKING:
    from perfguard.events.rounds import Item


@dataclass
class RunBuilder:
    """Applies events one by one; `run()` is the document so far. Events of unknown kinds are passed over."""

    run_id: str = ""
    started: str = ""
    finished: str | None = None
    profile: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    commit: dict[str, Any] = field(default_factory=dict)
    gate: Gate | None = None
    cases: dict[str, Case] = field(default_factory=dict)
    plan: dict[str, Case] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)
    steal: list[float] = field(default_factory=list)

    def apply(self, event: Event) -> None:
        """Take one validated event in."""
        handler = getattr(self, f"_{event['kind']}", None) if event["kind"] in KINDS else None
        if handler is not None:
            handler(event)

    def run(self) -> Run:
        """The run document as far as the events told it."""
        return Run(
            self.run_id,
            self.started,
            self.finished,
            self.profile,
            self.machine,
            self.commit,
            tuple(self.cases.values()),
            self.gate,
            self.noise(),
        )

    def noise(self) -> Noise | None:
        """What else the machine did so far; None before the first reading."""
        if not self.others:
            return None
        return Noise(
            statistics.median(self.others),
            max(self.others),
            statistics.median(self.steal),
            max(self.steal),
            len(self.others),
        )

    def case(self, case_id: str) -> Case:
        """The case as far as it is known; an unplanned one is made up from its id."""
        return self.cases.get(case_id) or self.plan.get(case_id) or Case(case_id, case_id, "", "error")

    def _run_started(self, event: Event) -> None:
        self.run_id, self.started = event["run"], event["started"]
        self.profile, self.machine, self.commit = event["profile"], event["machine"], event["commit"]
        for planned in event["plan"]:
            self.plan[planned["id"]] = Case(
                id=planned["id"],
                key=planned["key"],
                suite=planned["suite"],
                status="error",
                params=planned.get("params", {}),
            )

    def _case_started(self, event: Event) -> None:
        self.cases[event["case"]] = self.case(event["case"])

    def _metric(self, event: Event) -> None:
        case = self.case(event["case"])
        self._keep(replace(case, metrics=(*case.metrics, document.metric_from_map(event["metric"]))))

    def _account(self, event: Event) -> None:
        self._keep(replace(self.case(event["case"]), account=document.account_from_map(event["account"])))

    def _note(self, event: Event) -> None:
        case = self.case(event["case"])
        self._keep(replace(case, notes=(*case.notes, event["text"])))

    def _extra(self, event: Event) -> None:
        self._keep(replace(self.case(event["case"]), extra=event["extra"]))

    def _verdict(self, event: Event) -> None:
        case = self.case(event["case"])
        self._keep(
            replace(
                case,
                metrics=tuple(
                    _judged(metric, event) if metric.name == event["metric"] else metric for metric in case.metrics
                ),
            )
        )

    def _case_finished(self, event: Event) -> None:
        case = self.case(event["case"])
        notes = (*case.notes, event["message"]) if event["message"] else case.notes
        self._keep(replace(case, status=event["status"], duration_s=event["duration_s"], notes=notes))

    def _machine_noise(self, event: Event) -> None:
        self.others.append(float(event["others"]))
        self.steal.append(float(event["steal"]))

    def _gate(self, event: Event) -> None:
        self.gate = Gate(
            event["exit_status"],
            tuple(event["slower"]),
            tuple(event["noisy"]),
            tuple(event["missing"]),
            event["reason"],
        )

    def _run_finished(self, event: Event) -> None:
        self.finished = event["finished"]

    def _keep(self, case: Case) -> None:
        self.cases[case.id] = case


def fold(events: Iterable[Item]) -> Run:
    """The run document of a whole stream of validated events; frames of many rounds say nothing that is in it."""
    builder = RunBuilder()
    for event in events:
        if isinstance(event, dict):
            builder.apply(event)
    return builder.run()


def _judged(metric: Metric, event: Event) -> Metric:
    change, baseline = event["change"], event["baseline"]
    return replace(
        metric,
        verdict=cast("document.Verdict", event["verdict"]),
        limit=float(event["limit"]),
        change=None if change is None else document.change_from_map(change),
        baseline=None if baseline is None else document.baseline_from_map(baseline),
    )
