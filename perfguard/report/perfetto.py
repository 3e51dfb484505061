"""The course of a run as a trace that ui.perfetto.dev and chrome://tracing open: Chrome's JSON trace format.

The measuring process has the cases with their stages and, below, the phases of some of their calls; every other lane
that phases were stamped in, such as a server's, is a process of its own; the machine's noise and the time per call are
counters.
Source: Trace Event Format, https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from perfguard.errors import ReportError
from perfguard.report.source import Source
from perfguard.report.timeline import CaseTimeline, TimedSpan, Timeline
from perfguard.report.words import one_line

CASES_ROW = 1
PHASES_ROW = 2
OWN_PID = 1
MACHINE_PID = 2
FIRST_LANE_PID = 10
Entry = dict[str, Any]


def report(source: Source) -> str:
    """The text of the file, for the registry of exports. Raises `ReportError` if only the run document is known."""
    if source.timeline is None:
        raise ReportError(
            "perfetto", "a run document does not say what happened when", "give the recording (--perfguard-record)"
        )
    return render(source, source.timeline)


def render(source: Source, timeline: Timeline) -> str:
    """The trace; times are microseconds since its first event."""
    run = source.run
    trace = {
        "traceEvents": list(_entries(timeline)),
        "displayTimeUnit": "ns",
        "otherData": {
            "run": run.run_id,
            "started": run.started,
            "commit": str(run.commit.get("id", "")),
            "machine_class": str(run.machine.get("class", "")),
            "calls_left_out": sum(case.left_out for case in timeline.cases.values()),
        },
    }
    return json.dumps(trace, allow_nan=False) + "\n"


def _entries(timeline: Timeline) -> Iterator[Entry]:
    origin_ns = _origin(timeline)
    lanes = {"": OWN_PID}
    for case in timeline.cases.values():
        for span in _spans(case):
            lanes.setdefault(span.lane, FIRST_LANE_PID + len(lanes) - 1)
    yield from _named(OWN_PID, "measuring process", 0)
    yield _thread(OWN_PID, CASES_ROW, "cases")
    yield from _named(MACHINE_PID, "machine", 99)
    for lane, pid in lanes.items():
        if lane:
            yield from _named(pid, one_line(lane), pid)
    for lane, pid in lanes.items():
        spans = [span for case in timeline.cases.values() for span in _spans(case) if span.lane == lane]
        yield from _lane(pid, spans, origin_ns)
    for case in timeline.cases.values():
        yield from _case(case, timeline.end_ns or case.start_ns, origin_ns)
    for now_ns, others, steal in timeline.noise:
        shares = {"other processes": round(others * 100, 3), "hypervisor": round(steal * 100, 3)}
        yield _counter(MACHINE_PID, "CPU taken, %", now_ns - origin_ns, shares)


def _origin(timeline: Timeline) -> int:
    starts = [span.start_ns for case in timeline.cases.values() for span in _spans(case)]
    return min([timeline.start_ns or 0, *starts])


def _spans(case: CaseTimeline) -> Iterator[TimedSpan]:
    return (span for call in case.calls for span in call)


def _case(case: CaseTimeline, run_end_ns: int, origin_ns: int) -> Iterator[Entry]:
    end_ns = case.end_ns if case.end_ns is not None else run_end_ns
    yield _slice(OWN_PID, CASES_ROW, case.id, "case", case.start_ns - origin_ns, end_ns - case.start_ns)
    bounds = [stage.start_ns for stage in case.stages[1:]] + [end_ns]
    for stage, stop_ns in zip(case.stages, bounds, strict=False):
        yield _slice(OWN_PID, CASES_ROW, stage.name, "stage", stage.start_ns - origin_ns, stop_ns - stage.start_ns)
    for now_ns, value_s in case.rounds:
        yield _counter(OWN_PID, "time per call, µs", now_ns - origin_ns, {"µs": value_s * 1e6})


def _lane(pid: int, spans: Sequence[TimedSpan], origin_ns: int) -> Iterator[Entry]:
    for row, those in enumerate(rows(spans)):
        tid = PHASES_ROW + row
        yield _thread(pid, tid, "phases" if row == 0 else f"phases, at once ({row + 1})")
        for span in those:
            name = span.path.rpartition("/")[2] or span.path
            entry = _slice(pid, tid, name, "phase", span.start_ns - origin_ns, span.end_ns - span.start_ns)
            yield {**entry, "args": {"path": one_line(span.path)}}


def rows(spans: Iterable[TimedSpan]) -> list[list[TimedSpan]]:
    """Spans in as few rows as it takes that within a row any two are apart or one inside the other."""
    found: list[list[TimedSpan]] = []
    open_ends: list[list[int]] = []
    for span in sorted(spans, key=lambda each: (each.start_ns, -each.end_ns)):
        for row, ends in zip(found, open_ends, strict=True):
            while ends and ends[-1] <= span.start_ns:
                ends.pop()
            if not ends or span.end_ns <= ends[-1]:
                row.append(span)
                ends.append(span.end_ns)
                break
        else:
            found.append([span])
            open_ends.append([span.end_ns])
    return found


def _slice(pid: int, tid: int, name: str, kind: str, start_ns: int, length_ns: int) -> Entry:
    return {
        "name": one_line(name),
        "cat": kind,
        "ph": "X",
        "pid": pid,
        "tid": tid,
        "ts": start_ns / 1000,
        "dur": max(0, length_ns) / 1000,
    }


def _counter(pid: int, name: str, now_ns: int, values: dict[str, float]) -> Entry:
    return {"name": name, "ph": "C", "pid": pid, "tid": 0, "ts": now_ns / 1000, "args": values}


def _named(pid: int, name: str, order: int) -> Iterator[Entry]:
    yield {"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": name}}
    yield {"name": "process_sort_index", "ph": "M", "pid": pid, "tid": 0, "args": {"sort_index": order}}


def _thread(pid: int, tid: int, name: str) -> Entry:
    return {"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}
