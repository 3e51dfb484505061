"""The bench of this suite: one model's weights on disk, and everything that is timed on them, ready to be called."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal

import torch

from perfguard.spans import Overlap
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.weights import Weights
from perfguard_suites.weight_streaming import accelerated, baselines
from perfguard_suites.weight_streaming.config import PolicyName, StreamingConfig
from perfguard_suites.weight_streaming.model import StreamedModel, staying_weights
from perfguard_suites.weight_streaming.store import LayerStore, opened
from perfguard_suites.weight_streaming.streamer import Streamer, streaming
from perfguard_suites.weight_streaming.trace import Trace, total_s
from perfguard_suites.weight_streaming.validity import disk_bytes, queued_ns

if TYPE_CHECKING:
    from typing_extensions import Self

SourceName = Literal["warm", "cold", "direct"]
RATIOS = {"1:2": 0.5, "1:1": 1.0, "2:1": 2.0}  # load : compute
CANDIDATES = (1, 2, 4, 8, 12, 16, 24, 32, 64, 96, 128, 192, 256, 384, 512)


def config_for(source: SourceName, policy: PolicyName, **changes: Any) -> StreamingConfig:
    """A streaming configuration for one place where the weights come from."""
    cpus = sorted(os.sched_getaffinity(0))
    chosen: dict[str, Any] = {
        "policy": policy,
        "direct_io": source == "direct",
        "drop_cache": source == "cold",
        "reader_cpus": tuple(cpus[1:2]),
    }
    return StreamingConfig(**(chosen | changes))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Arithmetic on one thread, as much apart from the readers as the machine allows; undone at the end."""
    threads, cpus = torch.get_num_threads(), sorted(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        os.sched_setaffinity(0, cpus)


def pin_compute() -> None:
    """The calling thread on the first CPU, where there is another for the readers. Call it after opening streamers."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1:
        os.sched_setaffinity(0, cpus[:1])


@dataclass
class Timed:
    """Something that makes passes, with the trace of each call, and what the system says happened meanwhile."""

    call: Callable[[], Any]
    traces: list[Trace] = field(default_factory=list)
    walls_s: list[float] = field(default_factory=list)
    calls: int = 0
    wall_ns: int = 0
    queued_ns: int = 0
    disk_bytes: int = 0

    def __call__(self) -> Any:
        """One call; what it returned, a trace kept."""
        queued, disk = queued_ns(), disk_bytes()
        begin_ns = perf_counter_ns()
        result = self.call()
        wall_ns = perf_counter_ns() - begin_ns
        now = queued_ns()
        self.queued_ns += max((now[thread] - queued.get(thread, now[thread]) for thread in now), default=0)
        self.disk_bytes += disk_bytes() - disk
        self.wall_ns += wall_ns
        self.calls += 1
        trace = result[1] if isinstance(result, tuple) else result if isinstance(result, Trace) else None
        if trace is not None:
            self.traces.append(trace)
        self.walls_s.append(trace.wall_s if trace is not None else wall_ns / 1e9)
        return result

    def forget(self) -> None:
        """Warm-up is over."""
        self.traces.clear()
        self.walls_s.clear()
        self.calls = self.wall_ns = self.queued_ns = self.disk_bytes = 0


class Bench:
    """A folder of weights, its model, and a request of `rows` token rows a pass."""

    def __init__(self, folder: Path, model: ModelConfig, source: SourceName, rows: int, passes: int) -> None:
        self.folder, self.model, self.source = folder, model, source
        self.passes = passes
        self.ids = torch.arange(rows) % model.vocabulary
        self.stays: Weights = staying_weights(folder, model, "float32")
        self.opening_s: dict[str, float] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def streamed(
        self,
        name: str,
        config: StreamingConfig,
        make: Callable[[LayerStore, StreamingConfig], Streamer] = Streamer,
    ) -> Timed:
        """Passes of the streamed model; opening it is timed apart."""
        begin_ns = perf_counter_ns()
        streamer = self.streamer(config, make)
        self.opening_s[name] = (perf_counter_ns() - begin_ns) / 1e9
        model = StreamedModel(self.model, self.stays, streamer, len(self.ids))
        return Timed(lambda: model.passes(self.ids, self.passes))

    def streamer(
        self, config: StreamingConfig, make: Callable[[LayerStore, StreamingConfig], Streamer] = Streamer
    ) -> Streamer:
        """A streamer of the folder, closed with the bench."""
        store = self._stack.enter_context(opened(self.folder, self.model, config))
        return self._stack.enter_context(streaming(store, config, make))

    def loading(self, config: StreamingConfig) -> Timed:
        """Passes that load and do not compute."""
        passes = baselines.load_only(self.streamer(config))
        return Timed(lambda: passes(self.passes))

    def serial(self, name: str = "serial") -> Timed:
        """Loading and computing in turn."""
        return self.streamed(name, config_for(self.source, "lookahead"), baselines.SerialStreamer)

    def seed(self) -> Timed:
        """The seed's scheme."""
        return self.streamed("seed", config_for(self.source, "lru"), baselines.seed_scheme)

    def resident(self) -> Timed:
        """All weights in memory."""
        passes = baselines.resident(self.folder, self.model, self.ids, "float32")
        return Timed(lambda: passes(self.passes))

    def accelerate(self) -> Timed:
        """Accelerate's disk offload, whose reads come from the page cache whatever the source is."""
        passes = self._stack.enter_context(
            accelerated.on_disk(self.folder, self.model, self.stays, self.ids, "float32")
        )
        return Timed(lambda: passes(self.passes))


def overlaps(stream: Timed, serial: Timed) -> list[Overlap]:
    """Of each round: the streamed passes beside the same passes in turn, whose parts had nothing beside them."""
    return [
        trace.overlap(
            serial_s=alone.wall_s,
            copy_alone_s=total_s(alone.loads) * len(trace.loads) / max(1, len(alone.loads)),
            compute_alone_s=total_s(alone.computes),
        )
        for trace, alone in zip(stream.traces, serial.traces, strict=False)
        if trace.loads and alone.loads
    ]


class Speeds:
    """How long a pass loads, and computes at so many token rows, one after the other; each measured once."""

    def __init__(self, folder: Path, model: ModelConfig, source: SourceName) -> None:
        self._bench = Bench(folder, model, source, max(CANDIDATES), 1)
        streamer = self._bench.streamer(config_for(source, "lookahead"), baselines.SerialStreamer)
        self._model = StreamedModel(model, self._bench.stays, streamer, max(CANDIDATES))
        self._loads: list[float] = []
        self._computes: dict[int, float] = {}
        self._pass(1)
        self._loads.clear()

    def rows_for(self, ratio: float) -> int:
        """Token rows a pass at which loading takes about `ratio` times as long as computing."""
        distances = {}
        for rows in CANDIDATES:
            if rows not in self._computes:
                self._computes[rows] = self._pass(rows)
            reached = median(self._loads) / self._computes[rows]
            distances[rows] = abs(math.log(reached / ratio))
            if reached < ratio / 1.5:
                break
        return min(distances, key=lambda rows: distances[rows])

    def close(self) -> None:
        """Let go of the weights."""
        self._bench.__exit__()

    def _pass(self, rows: int) -> float:
        _, trace = self._model.passes(self._bench.ids[:rows], 1)
        self._loads.append(total_s(trace.loads))
        return total_s(trace.computes)
