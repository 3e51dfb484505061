"""Traces made by hand in the formats of the profilers, with every time known: whole nanoseconds in, files out."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

US = 1000
BASE_NS = 4_938_827_931_149_093  # where Kineto's relative times are today
NCCL = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
GEMM = "ampere_sgemm_128x64_nn"
COPY = "Memcpy HtoD (Pinned -> Device)"


def us(ns: int) -> str:
    """Nanoseconds as Kineto writes them: microseconds with three decimals."""
    sign = "-" if ns < 0 else ""
    return f"{sign}{abs(ns) // 1000}.{abs(ns) % 1000:03d}"


@dataclass
class Kineto:
    """Events as text, so that numbers stay as written; `category` maps today's names to another version's."""

    base_ns: int = BASE_NS
    category: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    correlation: int = 0

    def add(self, cat: str, name: str, start: int, end: int, place: tuple[Any, Any], **args: Any) -> None:
        """One complete event."""
        pid, tid = (json.dumps(one) for one in place)
        self.events.append(
            f'  {{\n    "ph": "X", "cat": "{self.category.get(cat, cat)}", "name": {json.dumps(name)}, "pid": {pid}, '
            f'"tid": {tid},\n    "ts": {us(start + self.base_ns)}, "dur": {us(end - start)},\n'
            f'    "args": {{\n      {json.dumps(args)[1:-1]}\n    }}\n  }}'
        )

    def device(self, cat: str, name: str, start: int, end: int, *, stream: int = 7, device: int = 0) -> None:
        """An activity without a recorded launch."""
        self.add(cat, name, start, end, (device, stream), device=device, stream=stream)

    def launched(
        self, cat: str, name: str, at: int, start: int, end: int, stream: int = 7, thread: int = 42, device: int = 0
    ) -> None:
        """An activity and the runtime call at `at` that launched it."""
        self.correlation += 1
        call = "cudaLaunchKernel" if cat == "kernel" else "cudaMemcpyAsync"
        self.add("cuda_runtime", call, at, at + US, (42, thread), cbid=211, correlation=self.correlation)
        place = (device, stream)
        self.add(cat, name, start, end, place, device=device, stream=stream, correlation=self.correlation, bytes=1)

    def range(self, name: str, start: int, end: int, thread: int = 42) -> None:
        """A user annotation."""
        self.add("user_annotation", name, start, end, (42, thread))

    def text(self) -> str:
        """The file's content."""
        return (
            '{\n  "schemaVersion": 1,\n  "deviceProperties": [\n    {"id": 0, "name": "NVIDIA H200"}\n  ],\n'
            '  "baseTimeNanoseconds": 1790857026000000000,\n  "traceEvents": [\n'
            + ",\n".join(self.events)
            + '\n  ],\n  "traceName": "made.json"\n}\n'
        )

    def write(self, path: Path) -> Path:
        """The file, written."""
        path.write_text(self.text(), encoding="utf-8")
        return path


def training(seed: int = 3, steps: int = 4) -> Kineto:
    """Steps of kernels, collectives and copies on three streams, at random times: the shape of a real training run."""
    rng, made = random.Random(seed), Kineto()
    host = free = comm = copied = 0
    for step in range(steps):
        start = host
        for layer in range(6):
            began = host
            for _ in range(4):
                free = max(free, host) + rng.randrange(400, 9000)
                end = free + rng.randrange(2000, 60_000)
                made.launched("kernel", f"gemm_{rng.randrange(3)}", host, free, end)
                free, host = end, host + rng.randrange(3000, 40_000)
            comm = max(comm, host) + rng.randrange(500, 5000)
            end = comm + rng.randrange(10_000, 120_000)
            made.launched("kernel", NCCL, host, comm, end, stream=13)
            comm = end
            copied = max(copied, host) + rng.randrange(500, 5000)
            end = copied + rng.randrange(10_000, 90_000)
            made.launched("gpu_memcpy", COPY, host + US, copied, end, stream=20)
            copied, host = end, host + 5 * US
            made.launched("gpu_memset", "Memset (Device)", host, free + 300, free + 1700)
            free += 1700
            made.range(f"layer_{layer}", began, host)
        made.range(f"ProfilerStep#{step}", start, host)
    return made


SCHEMA = """
CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE TARGET_INFO_GPU (id INTEGER, name TEXT);
CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, rangeId INTEGER,
  text TEXT, globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER, domainId INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  contextId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER,
  demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  contextId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER,
  bytes INTEGER NOT NULL, copyKind INTEGER NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER NOT NULL,
  globalTid INTEGER, correlationId INTEGER, nameId INTEGER NOT NULL, returnValue INTEGER NOT NULL);
"""
PID = 0x01000F42000000  # a process, as the upper part of its threads' global ids


def nsys(path: Path, script: str = "", without: tuple[str, ...] = ()) -> Path:
    """An SQLite export in the documented schema; `script` fills it, tables `without` were never created."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA + script)
        for table in without:
            connection.execute(f"DROP TABLE {table}")
        connection.commit()
    return path


def report_csv() -> tuple[str, str]:
    """`nvtx_sum` and `cuda_gpu_kern_sum` with the figures that a report of 64 tokens through 8 layers published."""
    head = "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns)"
    loads = (70.81, 71.09, 70.41, 70.81, 70.88, 70.93, 70.47, 70.68)
    stdev = (41.9, 42.7, 41.0, 47.5, 40.4, 43.9, 38.2, 40.8)
    compute = (150.5, 7.89, 7.68, 7.75, 8.00, 7.94, 7.84, 7.72)

    def row(total_ms: float, count: int, deviation_us: float, *tail: str) -> str:
        total = round(total_ms * 1e6)
        each = total / count
        numbers = [
            0.0,
            total,
            count,
            f"{each:.1f}",
            f"{each:.1f}",
            round(each),
            round(each),
            f"{deviation_us * 1e3:.1f}",
        ]
        return ",".join([*map(str, numbers), *tail])

    ranges = [
        f"{head},Style,Range",
        row(776.336, 1, 0, "PushPop", ":whole_run"),
        row(635.4, 64, 0, "PushPop", ":token"),
    ]
    for layer in range(8):
        ranges.append(row(loads[layer], 64, stdev[layer], "PushPop", f":ensure_weights_layer_{layer}"))
        ranges.append(row(compute[layer], 64, 0, "PushPop", f":compute_layer_{layer}"))
    kernels = [
        f"{head},Name",
        row(13.74, 512, 0, "ampere_sgemm_128x64_nn"),
        row(4.86, 1024, 0, '"void distribution_elementwise_grid_stride_kernel<float, 4>(int, float)"'),
    ]
    return "\n".join(ranges) + "\n", "\n".join(kernels) + "\n"
