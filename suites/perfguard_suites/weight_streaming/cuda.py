"""Streaming to a CUDA device: readers fill pinned buffers, copy streams take them over, and the compute stream waits.

Nothing synchronises the device: a copy waits for the event after which its place is free, the compute stream for the
event of its copy. The host waits for a pinned buffer to be empty, and reads its clocks when all is over.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from time import perf_counter_ns
from typing import Any, Literal

import torch
from torch import Tensor

from perfguard_suites.weight_streaming.config import StreamingConfig
from perfguard_suites.weight_streaming.errors import StreamingConfigError
from perfguard_suites.weight_streaming.memory import placed_views
from perfguard_suites.weight_streaming.store import LayerStore
from perfguard_suites.weight_streaming.streamer import Held, Streamer
from perfguard_suites.weight_streaming.trace import LATE, READY, Stretch, Trace

_CUDA: Any = torch.cuda  # torch's annotations stop here
Home = Literal["file", "host"]
STAGING_S = 60.0
WAKE_NS = 10_000  # a wait below this is two events' distance


class CudaMemory:
    """`slots` places on the device, `buffers` pinned places on the host, and `streams` to copy on.

    `home`: `file`, each layer is read from its file every time; `host`, all layers lie pinned in host memory, read
    once, and only cross the bus. Raises `StreamingConfigError` without a CUDA device.
    """

    def __init__(
        self, store: LayerStore, config: StreamingConfig, device: str = "cuda", home: Home = "file", streams: int = 1
    ) -> None:
        if not torch.cuda.is_available():
            raise StreamingConfigError("streaming: device", "there is no CUDA device", "take the CPU's memory")
        if config.reading == "map":
            raise StreamingConfigError("streaming: reading", "a mapped file's pages are not pinned", "take 'read'")
        self.device = torch.device(device)
        self._store = store
        self._home = home
        self._places = [
            torch.empty(store.slot_bytes, dtype=torch.uint8, device=self.device) for _ in range(config.slots)
        ]
        pinned = len(store.plans) if home == "host" else max(config.buffers, config.reader_threads + 1)
        self._pinned = [torch.empty(store.slot_bytes, dtype=torch.uint8, pin_memory=True) for _ in range(pinned)]
        self._streams = [_CUDA.Stream(self.device) for _ in range(streams)]
        self._freed = [_CUDA.Event() for _ in range(config.slots)]  # a place's last compute
        self._emptied = [_CUDA.Event(blocking=True) for _ in range(pinned)]  # a pinned buffer's last copy
        self._staging: SimpleQueue[int] = SimpleQueue()
        self._next = 0
        self._lock = threading.Lock()
        self._views: dict[tuple[int, int], Mapping[str, Tensor]] = {}
        self.copied: dict[tuple[int, int], tuple[Any, Any, str]] = {}  # (layer, slot): begin, end, lane
        self.reads: list[Stretch] = []
        if home == "host":
            for layer, each in enumerate(self._pinned):
                store.read(layer, memoryview(each.numpy()))  # type: ignore[arg-type]
        else:
            for number in range(pinned):
                self._staging.put(number)

    def load(self, layer: int, slot: int, stopped: Callable[[], bool]) -> bool:
        """Read the layer into a pinned buffer, and order its copy; returns when it is ordered, not when it is done."""
        number = layer
        if self._home == "file":
            number = self._staging.get(timeout=STAGING_S)
            self._emptied[number].synchronize()  # blocking, without the GIL; at once for a new event
            begin_ns = perf_counter_ns()
            if not self._store.read(layer, memoryview(self._pinned[number].numpy()), stopped):  # type: ignore[arg-type]
                return False
            self.reads.append(Stretch(layer, begin_ns, perf_counter_ns(), threading.current_thread().name))
        size = self._store.plans[layer].size_bytes
        with self._lock:
            lane = self._next = (self._next + 1) % len(self._streams)
        stream = self._streams[lane]
        begin, end = _CUDA.Event(enable_timing=True), _CUDA.Event(enable_timing=True)
        with _CUDA.stream(stream):
            stream.wait_event(self._freed[slot])
            begin.record(stream)
            self._places[slot][:size].copy_(self._pinned[number][:size], non_blocking=True)
            end.record(stream)
            self._emptied[number].record(stream)
        self.copied[layer, slot] = (begin, end, f"copy-stream-{lane}")
        if self._home == "file":
            self._staging.put(number)
        return True

    def tensors(self, layer: int, slot: int) -> Mapping[str, Tensor]:
        """Views of the place on the device; the caller's stream must wait for the layer's copy."""
        found = self._views.get((layer, slot))
        if found is None:
            found = self._views[layer, slot] = placed_views(self._store, layer, self._places[slot])
        return found

    def evict(self, layer: int, slot: int) -> None:
        """What was ordered on the caller's stream until now is the last use of this place."""
        self._freed[slot].record(_CUDA.current_stream(self.device))
        self.copied.pop((layer, slot), None)

    def close(self) -> None:
        """Wait for the copies under way, and let go of the memory."""
        for stream in self._streams:
            with contextlib.suppress(RuntimeError):  # a device that failed: its error has been told
                stream.synchronize()
        self._views.clear()
        self._places.clear()
        self._pinned.clear()


class CudaStreamer(Streamer):
    """A streamer whose layers lie on a CUDA device, computed with on the caller's current stream.

    Its trace is in the device's time, known after `finish`: `waits` are what the compute stream waited for copies,
    `loads` the copies, on the lanes of their streams, and the readers' reads, on theirs (the two clocks meet where
    `begin` waits for the device); `computes` go from a wait's end to the next `release`.
    """

    def __init__(
        self, store: LayerStore, config: StreamingConfig, device: str = "cuda", home: Home = "file", streams: int = 1
    ) -> None:
        self.on_device = CudaMemory(store, config, device, home, streams)
        self._events: list[tuple[int, Any, Any, Any, Any]] = []
        self._copies: dict[int, tuple[int, Any, Any, str]] = {}  # by identity of the event that ends it
        super().__init__(store, config, self.on_device)

    def begin(self, passes: int = 0) -> None:
        """A new trace, from what the device has done by now."""
        _CUDA.synchronize(self.on_device.device)  # before, and not within, what is measured
        self._events.clear()
        self._copies.clear()
        self._origin = _CUDA.Event(enable_timing=True)
        self._origin.record(_CUDA.current_stream(self.on_device.device))
        _CUDA.synchronize(self.on_device.device)
        self._origin_ns = perf_counter_ns()
        self.on_device.reads.clear()
        super().begin(passes)

    def acquire(self) -> Held:
        """The next layer, for which the current stream waits; the host waits only until its copy is ordered."""
        held = super().acquire()
        stream = _CUDA.current_stream(self.on_device.device)
        slot = self._slots[held.layer]
        asked = _CUDA.Event(enable_timing=True)
        asked.record(stream)
        copy = self.on_device.copied.get((held.layer, slot))
        if copy is not None:
            begin, end, lane = copy
            stream.wait_event(end)
            self._copies[id(end)] = (held.layer, begin, end, lane)
        got = _CUDA.Event(enable_timing=True)
        got.record(stream)
        self._events.append((held.layer, asked, got, None, slot))
        return held

    def release(self) -> None:
        """The layer's compute is ordered."""
        done = _CUDA.Event(enable_timing=True)
        done.record(_CUDA.current_stream(self.on_device.device))
        layer, asked, got, _, slot = self._events[-1]
        self._events[-1] = (layer, asked, got, done, slot)
        super().release()

    def finish(self) -> Trace:
        """Wait for the device; the trace of what it did."""
        end = _CUDA.Event(enable_timing=True)
        end.record(_CUDA.current_stream(self.on_device.device))
        end.synchronize()
        host = super().finish()
        at = self._at_ns
        trace = Trace(begin_ns=0, end_ns=at(end), most_present=host.most_present, distances=host.distances)
        trace.evicts = host.evicts
        for layer, asked, got, done, _ in self._events:
            waited = at(got) - at(asked)
            trace.waits.append(Stretch(layer, at(asked), at(got), LATE if waited > WAKE_NS else READY))
            if done is not None:
                trace.computes.append(Stretch(layer, at(got), at(done)))
        for layer, begin, copied, lane in self._copies.values():
            if at(begin) >= 0:
                trace.loads.append(Stretch(layer, at(begin), at(copied), lane))
        for read in self.on_device.reads:
            begin_ns, end_ns = read.start_ns - self._origin_ns, read.end_ns - self._origin_ns
            if begin_ns >= 0:
                trace.loads.append(Stretch(read.layer, begin_ns, end_ns, read.lane))
        self.trace = trace
        return trace

    def _at_ns(self, event: Any) -> int:
        return int(1e6 * self._origin.elapsed_time(event))


def needs_cuda() -> str:
    """Why there is no CUDA path here; empty where there is one."""
    return "" if torch.cuda.is_available() else "no CUDA device on this machine"
