"""A run that produces events at a rate, as a process told what to do by lines; and a long recording of one."""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perfguard.events import EventStream
from perfguard.events.framing import MAGIC, record_of
from perfguard.events.gather import Gatherer
from perfguard.events.schema import VERSION, pack
from perfguard.events.stream import GATHER_NS

METRIC = "time"
_STEP_NS = 500_000


def case_ids(count: int) -> list[str]:
    """Names that can be told apart in a terminal's output."""
    return [f"perf/test_load.py::test_c[{number:05}]" for number in range(count)]


def round_fields(case: str, index: int, value: float) -> dict[str, Any]:
    """A `round` event as suites with three phases send it."""
    phases = {"rpc/copy": value * 0.4, "rpc/pack": value * 0.1, "rpc/wire": value * 0.45}
    fields = {"case": case, "metric": METRIC, "index": index, "iterations": 10, "value": value}
    return {**fields, "warmup": False, "phases": phases}


def started_fields(cases: list[str]) -> dict[str, Any]:
    """The `run_started` event of those cases."""
    plan = [{"id": case, "key": case, "suite": "load", "params": {}} for case in cases]
    machine = {"class": "bench"}
    return {
        "started": "2026-01-01T00:00:00Z",
        "profile": "full",
        "machine": machine,
        "commit": {"id": ""},
        "plan": plan,
    }


def record(path: Path, events: int, cases: int) -> int:
    """Write a recording of about so many events at 2,000 a second, an hour for 7.2 million; returns how many.

    As a recorder would: what the producer gathers in `GATHER_NS` is a frame of some forty rounds.
    """
    ids, rng, seq = case_ids(cases), random.Random(1), itertools.count()
    gatherer = Gatherer("bench", "main")
    rounds = (events - 2) // cases - 2
    with path.open("wb", buffering=1024 * 1024) as file:
        file.write(MAGIC)

        def flush() -> None:
            file.writelines(record_of(frame) for frame, _, _ in gatherer.frames())
            gatherer.clear()

        def write(kind: str, **fields: Any) -> None:
            flush()
            number = next(seq)
            event = {
                "v": VERSION,
                "run": "bench",
                "src": "main",
                "seq": number,
                "t_ns": number * _STEP_NS,
                "kind": kind,
            }
            file.write(record_of(pack({**event, **fields})))

        write("run_started", **started_fields(ids))
        for case in ids:
            write("case_started", case=case)
            for index in range(rounds):
                number = next(seq)
                if not gatherer.add(number, number * _STEP_NS, round_fields(case, index, _value(rng))):
                    raise ValueError("a round that does not fit into columns")
                if len(gatherer.rows) * _STEP_NS >= GATHER_NS:
                    flush()
            write("case_finished", case=case, status="passed", duration_s=1.0, message="")
        write("run_finished", finished="2026-01-01T01:00:00Z", exit_status=0)
    return next(seq)


def _value(rng: random.Random) -> float:
    return 1e-3 * (1 + 0.1 * rng.random())


def produce(endpoint: str, cases: int) -> None:
    """Be a live run: each line `RATE BATCH SECONDS FRAMES` of standard input is one stretch of load; ends with it.

    Events come evenly, `BATCH` at a time; a line of JSON tells what was really emitted. `FRAMES` is `single` for events
    that cannot be gathered, each a message of its own, or `gathered` for rounds as suites send them.
    """
    ids, rng = case_ids(cases), random.Random(1)
    stream = EventStream("bench")
    stream.open_bus(endpoint)
    stream.emit("run_started", **started_fields(ids))
    print("ready", flush=True)
    fields = itertools.cycle([round_fields(case, 1, _value(rng)) for case in ids])
    for line in sys.stdin:
        *numbers, frames = line.split()
        rate, batch, seconds = map(float, numbers)
        # A field that no schema knows has no column: such a round goes by itself.
        told = (each | {"by": "bench"} for each in fields) if frames == "single" else fields
        print(json.dumps(_stretch(stream, told, rate, int(batch), seconds)), flush=True)
    stream.emit("run_finished", finished="2026-01-01T01:00:00Z", exit_status=0)
    stream.close()


def _stretch(
    stream: EventStream, fields: Iterator[dict[str, Any]], rate: float, batch: int, seconds: float
) -> dict[str, float]:
    begin_s, before = time.perf_counter(), stream.emitted
    done = 0
    while (now_s := time.perf_counter() - begin_s) < seconds:
        due = int(now_s * rate) // batch * batch
        for event in itertools.islice(fields, max(0, due - done)):
            stream.emit("round", **event)
        done = max(done, due)
        time.sleep(max(0.0, (done + batch) / rate - (time.perf_counter() - begin_s)))
    took_s = time.perf_counter() - begin_s
    return {"events": stream.emitted - before, "seconds": took_s, "emitted": stream.emitted}


if __name__ == "__main__":
    produce(sys.argv[1], int(sys.argv[2]))
