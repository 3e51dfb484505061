"""What an event costs: `python -m perfguard.events.bench`. Used by people and by perfguard's own suite.

Sinks are measured in turn within one session, so that a drifting machine drifts for all of them, and beside a
reference operation (`json.dumps` of the same event), whose ratio carries over to other machines.
"""

from __future__ import annotations

import contextlib
import gc
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from perfguard.events.stream import EventStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK_EVENTS = 2000
_CASE = "tests/transport/test_round_trip.py::test_round_trip[shm-10MiB]"


def event_costs(blocks: int = 30) -> dict[str, float]:
    """Median ns per `round` event, over `blocks` blocks of `BLOCK_EVENTS`, by sink.

    `fold`: a callback in the process; `recorder`: a file; `bus`: live without a viewer; `both`: file and bus;
    `json.dumps`: the reference. Opens a socket in the runtime directory and a file in a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="perfguard-bench-") as folder, contextlib.ExitStack() as stack:
        sinks = dict(_sinks(Path(folder), stack))
        costs: dict[str, list[float]] = {name: [] for name in sinks}
        was_enabled = gc.isenabled()
        gc.disable()
        stack.callback(gc.enable if was_enabled else gc.disable)
        for _ in range(blocks):
            for name, once in sinks.items():
                begin_ns = time.perf_counter_ns()
                for index in range(BLOCK_EVENTS):
                    once(index)
                costs[name].append((time.perf_counter_ns() - begin_ns) / BLOCK_EVENTS)
    return {name: statistics.median(figures) for name, figures in costs.items()}


def _sinks(folder: Path, stack: contextlib.ExitStack) -> Iterator[tuple[str, Callable[[int], object]]]:
    event = {**_fields(0), "v": 1, "run": "bench", "src": "main", "seq": 0, "t_ns": 0, "kind": "round"}
    yield "json.dumps", lambda index: json.dumps(event | {"index": index})
    for name in ("fold", "recorder", "bus", "both"):
        stream = EventStream(f"bench-{name}")
        stack.callback(stream.close)
        if name == "fold":
            stream.subscribe(lambda _event: None)
        if name in ("recorder", "both"):
            stream.open_recorder(folder / f"{name}.pgrun")
        if name in ("bus", "both"):
            stream.open_bus()
        yield name, lambda index, stream=stream: stream.emit("round", **_fields(index))  # type: ignore[misc]


def _fields(index: int) -> dict[str, object]:
    return {
        "case": _CASE,
        "metric": "wall",
        "index": index,
        "iterations": 10,
        "value": 1.234e-3,
        "warmup": False,
        "phases": {"rpc/copy": 4.1e-4, "rpc/pack": 1.0e-4, "rpc/wire": 6.0e-4, "rpc/wake": 1.1e-4},
    }


def main() -> int:
    """Print the table."""
    costs = event_costs()
    reference_ns = costs["json.dumps"]
    for name, cost_ns in costs.items():
        print(f"{name:<10} {cost_ns:8.0f} ns/event  {cost_ns / reference_ns:5.2f} x json.dumps")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
