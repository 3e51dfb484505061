"""The chart as JSON: Chrome's trace event format, which Perfetto opens, and the document's own shape.

Written piece by piece: what a template's tasks have in common is formatted once, and one formatting operation writes
all its layers. Source of the first: "Trace Event Format", Google, sections "JSON Object Format" and "Complete Events".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np

from perfguard_suites.simulator.gantt import NO_LAYER, PHASES, Gantt, Piece, Resource
from perfguard_suites.simulator.templates import RESOURCE_KINDS

PS_PER_US = 1_000_000


def chrome_trace(gantt: Gantt) -> str:
    """JSON for chrome://tracing and ui.perfetto.dev: a process for each stage, a thread for each of its resources.

    Times are microseconds with three decimals, rounded down to the nanoseconds that those tools count in. A duration
    ends a nanosecond early: a tool that adds a start and a duration as floating-point numbers would else find that
    events which touch overlap (speedscope did).
    """
    events = [
        json.dumps({"name": key, "ph": "M", "pid": pid, "tid": tid, "args": args})
        for pid in range(len(gantt.resources) // len(RESOURCE_KINDS))
        for key, tid, args in _metadata(pid)
    ]
    events += _written(gantt, _chrome_task, "%d.%03d", ps_per_unit=1_000, units_per_us=1_000)
    return f'{{"displayTimeUnit":"ns","traceEvents":[{",".join(events)}]}}'


def document_gantt(gantt: Gantt) -> str:
    """JSON of the document's shape: `resources`, `tasks`, `timeRange` and `phaseTransition`, in microseconds.

    A task has its `timeRange`, to the picosecond. `phaseTransition` is where decoding begins; `layer` is null outside
    the layers, and `token` the decode step.
    """
    resources = [
        {"id": _id(resource), "name": resource.name, "ppStage": resource.stage, "type": resource.kind}
        for resource in gantt.resources
    ]
    end_us, transition_us = gantt.phase_ends_ps[-1] / PS_PER_US, gantt.phase_ends_ps[1] / PS_PER_US
    head = {"timeUnit": "us", "timeRange": {"start": 0, "end": end_us}, "phaseTransition": transition_us}
    tasks = _written(gantt, _document_task, "%d.%06d", ps_per_unit=1, units_per_us=PS_PER_US)
    return f'{json.dumps(head | {"resources": resources})[:-1]}, "tasks": [{",".join(tasks)}]}}'


def _metadata(pid: int) -> Iterator[tuple[str, int, dict[str, object]]]:
    yield "process_name", 0, {"name": f"pipeline stage {pid}"}
    yield "process_sort_index", 0, {"sort_index": pid}
    for tid, kind in enumerate(RESOURCE_KINDS):
        yield "thread_name", tid, {"name": kind}
        yield "thread_sort_index", tid, {"sort_index": tid}


def _id(resource: Resource) -> str:
    return f"s{resource.stage}.{resource.kind}"


def _chrome_task(piece: Piece, task: int, time: str, layer: str) -> str:
    """A complete event, with gaps for its start and its layer."""
    template = piece.template
    micros, nanos = divmod(max(0, template.durations_ps[task] // 1_000 - 1), 1_000)
    return (
        f'{{"name":"{template.names[task]}","cat":"{PHASES[piece.phase]}","ph":"X","pid":{piece.stage},'
        f'"tid":{template.kinds[task]},"ts":{time},"dur":{micros}.{nanos:03d},'
        f'"args":{{"layer":{layer},"token":{piece.token},"microbatch":{piece.microbatch}}}}}'
    )


def _document_task(piece: Piece, task: int, time: str, layer: str) -> str:
    """A task of the document's shape, with gaps for its start, its layer and its end."""
    template = piece.template
    return (
        f'{{"name":"{template.names[task]}","resource":"s{piece.stage}.{RESOURCE_KINDS[template.kinds[task]]}",'
        f'"phase":"{PHASES[piece.phase].lower()}","token":{piece.token},"microbatch":{piece.microbatch},'
        f'"timeRange":{{"start":{time},"end":{time}}},"layer":{layer}}}'
    )


def _written(
    gantt: Gantt, task: Callable[[Piece, int, str, str], str], time: str, *, ps_per_unit: int, units_per_us: int
) -> Iterator[str]:
    """The tasks of each piece, joined by commas; a `task` with two gaps for a time has its end in the second."""
    for piece in gantt.pieces:
        template = piece.template
        if not template.names:
            continue
        layer = "null" if piece.first_layer == NO_LAYER else "%d"
        one = ",".join(task(piece, index, time, layer) for index in range(len(template.names)))
        layers = np.arange(piece.layers, dtype=np.int64)[:, None]
        starts = piece.start_ps + layers * template.length_ps + np.array(template.offsets_ps, np.int64)
        times = [starts]
        if task is _document_task:
            times.append(starts + np.array(template.durations_ps, np.int64))
        figures = np.empty((*starts.shape, 2 * len(times) + (layer == "%d")), np.int64)
        for index, each in enumerate(times):
            figures[..., 2 * index], figures[..., 2 * index + 1] = np.divmod(each // ps_per_unit, units_per_us)
        if layer == "%d":
            figures[..., -1] = piece.first_layer + layers
        yield ",".join([one] * piece.layers) % tuple(figures.ravel().tolist())
