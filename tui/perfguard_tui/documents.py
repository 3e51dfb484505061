"""The feed of a finished run's document: told as the events that it is the fold of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perfguard import document
from perfguard.document import Case, Run
from perfguard.events.schema import VERSION, Event
from perfguard_tui.feed import Feed, FeedStatus
from perfguard_tui.store import Store

_STEP_NS = 1_000_000


class DocumentFeed(Feed):
    """A run document, at once. It holds no times of samples: they are taken to come one after the other.

    Raises `DocumentError` naming the file.
    """

    def __init__(self, store: Store, path: Path) -> None:
        super().__init__(store)
        self._run = document.load(path)
        self.status = FeedStatus("finished")

    def _feed(self) -> None:
        self.store.apply_all(events_of(self._run))


def events_of(run: Run) -> Iterator[Event]:
    """The events of a run as far as its document holds them."""
    for seq, (kind, fields) in enumerate(_told(run)):
        yield {
            "v": VERSION,
            "run": run.run_id,
            "src": "document",
            "seq": seq,
            "t_ns": seq * _STEP_NS,
            "kind": kind,
            **fields,
        }


def _told(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    plan = [{"id": case.id, "key": case.key, "suite": case.suite, "params": dict(case.params)} for case in run.cases]
    started = {"started": run.started, "profile": run.profile, "machine": run.machine, "commit": run.commit}
    yield "run_started", {**started, "plan": plan}
    for case in run.cases:
        yield from _of_case(case)
    if run.gate is not None:
        yield "gate", asdict(run.gate)
        yield "run_finished", {"finished": run.finished or "", "exit_status": run.gate.exit_status}


def _of_case(case: Case) -> Iterator[tuple[str, dict[str, Any]]]:
    name = {"case": case.id}
    yield "case_started", name
    for metric in case.metrics:
        for index, value in enumerate(metric.samples):
            fields = {"metric": metric.name, "index": index, "iterations": 1, "value": value}
            yield "round", {**name, **fields, "warmup": False, "phases": None}
        yield "metric", {**name, "metric": asdict(metric)}
        if metric.verdict is not None:
            change = None if metric.change is None else asdict(metric.change)
            known = None if metric.baseline is None else asdict(metric.baseline)
            judged = {"metric": metric.name, "verdict": metric.verdict, "limit": metric.limit}
            yield "verdict", {**name, **judged, "change": change, "baseline": known}
    if case.account is not None:
        yield "account", {**name, "account": asdict(case.account)}
    for note in case.notes:
        yield "note", {**name, "text": note}
    if case.extra:
        yield "extra", {**name, "extra": dict(case.extra)}
    yield "case_finished", {**name, "status": case.status, "duration_s": case.duration_s, "message": ""}
