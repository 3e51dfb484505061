"""The engine: readers bring layers in ahead of the one computed with, into a bounded set of places.

All decisions are made by the thread that computes, in `acquire` and `release`; readers only read. So nothing is locked:
jobs go out in one queue, arrivals come back in another, and an error of a reader is an arrival like any other.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, SimpleQueue
from time import perf_counter_ns
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from perfguard import phase
from perfguard_suites.weight_streaming.config import StreamingConfig
from perfguard_suites.weight_streaming.errors import ReadFailed, ReadStalled, StreamingConfigError, StreamingError
from perfguard_suites.weight_streaming.memory import MappedMemory, Memory, SlotMemory
from perfguard_suites.weight_streaming.policy import Policy, View
from perfguard_suites.weight_streaming.store import LayerStore
from perfguard_suites.weight_streaming.trace import LATE, READY, Stretch, Trace

if TYPE_CHECKING:
    from typing_extensions import Self

LOOK_S = 0.5  # how often one who waits looks whether his readers live
JOIN_S = 5.0
IDLE_S = 0.0003  # a look at the queue costs a reader 20 us of its own CPU
FOREVER = 1 << 60


class Job(NamedTuple):
    """Bring a layer into a place."""

    layer: int
    slot: int


class Arrival(NamedTuple):
    """A reader's answer."""

    job: Job
    start_ns: int
    end_ns: int
    lane: str
    error: BaseException | None


class Held(NamedTuple):
    """The layer to compute with now; its tensors are valid until `release`."""

    layer: int
    tensors: Mapping[str, Tensor]


class Streamer:
    """Streams a store's layers in cyclic order. Use it from one thread, and `close` it (or use it as a context).

    `trace` is what was done since `begin`. Raises from `acquire` what a reader raised, at once, and from then on.
    """

    def __init__(self, store: LayerStore, config: StreamingConfig, memory: Memory | None = None) -> None:
        self.store = store
        self.config = config
        self.trace = Trace()
        self.layers = len(store.plans)
        self.memory = memory or memory_for(store, config)
        self.policy = Policy(config, self.layers)
        self.view = View(self.layers, config.slots)
        self._slots: dict[int, int] = {}
        self._free = list(range(config.slots))
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._arrivals: SimpleQueue[Arrival] = SimpleQueue()
        self._closing = self._running = False
        self._failure: BaseException | None = None
        self._readers = [
            threading.Thread(target=self._read_jobs, name=f"weight-reader-{number}", daemon=True)
            for number in range(config.reader_threads)
        ]
        for reader in self._readers:
            reader.start()
        try:
            self._bring_kept()
        except BaseException:
            self.close()
            raise

    @property
    def resident_bytes(self) -> int:
        """Weight bytes that have memory now."""
        return sum(self.store.plans[layer].weight_bytes for layer in self.view.present)

    def begin(self, passes: int = 0) -> None:
        """A new trace; `passes` over the layers follow, beyond which nothing is read ahead (0: no end is known)."""
        self._live()
        if self.view.held >= 0 or self.view.at % self.layers:
            raise StreamingConfigError(
                "streaming: begin", f"layer {self.view.at % self.layers} is next, not layer 0", "finish the pass first"
            )
        self.view.end = self.view.at + passes * self.layers if passes else FOREVER
        self.trace = Trace(begin_ns=perf_counter_ns(), most_present=len(self.view.present))
        self._running = True
        self._feed()

    def finish(self) -> Trace:
        """The trace since `begin`, ended."""
        self.trace.end_ns = perf_counter_ns()
        self._running = False
        return self.trace

    def acquire(self) -> Held:
        """Wait for the next layer. Raises `ReadStalled`, or what its reader raised; then the streamer is of no use."""
        self._live()
        view, trace = self.view, self.trace
        layer = view.at % self.layers
        start_ns = perf_counter_ns()
        arrival = None
        while layer not in view.present or layer in view.loading:
            arrival = self._take(layer, start_ns)
        view.held = layer
        tensors = self.memory.tensors(layer, self._slots[layer])
        end_ns = perf_counter_ns()
        late = arrival is not None and arrival.end_ns > start_ns
        trace.waits.append(Stretch(layer, start_ns, end_ns, LATE if late else READY))
        if arrival is not None and late:
            trace.wakes_ns.append(end_ns - arrival.end_ns)
        trace.distances.append(self.policy.distance)
        self.policy.learn(end_ns - start_ns)
        return Held(layer, tensors)

    def release(self) -> None:
        """The layer was computed with: it may give way, and the next one is asked for."""
        start_ns = perf_counter_ns()
        view = self.view
        layer, view.held = view.held, -1
        view.used[layer] = view.at
        view.at += 1
        if view.at % self.layers == 0:
            self._check()
        if self.policy.gives_way(layer):
            self._evict(layer)
        self._feed()
        self.trace.evicts.append(Stretch(layer, start_ns, perf_counter_ns()))

    def close(self) -> None:
        """Stop the readers and let go of the memory; idempotent. A reader that hangs in the system is left to it."""
        self._closing = True
        for _ in self._readers:
            self._jobs.put(None)
        for reader in self._readers:
            reader.join(JOIN_S)
        self._readers = []
        self._failure = self._failure or StreamingError("streamer", "is closed", "open another")
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- on the thread that computes

    def _live(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _check(self) -> None:
        """At the end of a pass: all that was read came from the files as they were opened."""
        try:
            self.store.check()
        except StreamingError as error:
            self._failure = error
            raise

    def _bring_kept(self) -> None:
        """Load the layers that stay, before anything is streamed."""
        for layer in sorted(self.policy.kept):
            self._send(layer)
        start_ns = perf_counter_ns()
        while self.view.loading:
            self._take(min(self.view.loading), start_ns)

    def _feed(self) -> None:
        """Send every job that the policy wants now."""
        view = self.view
        while (load := self.policy.next_load(view)) is not None:
            if load.evict >= 0:
                self._evict(load.evict)
            self._send(load.layer)

    def _send(self, layer: int) -> None:
        view = self.view
        slot = self._slots[layer] = self._free.pop()
        view.present.add(layer)
        view.loading.add(layer)
        self.trace.most_present = max(self.trace.most_present, len(view.present))
        self._jobs.put(Job(layer, slot))

    def _evict(self, layer: int) -> None:
        slot = self._slots.pop(layer)
        self.view.present.discard(layer)
        self.memory.evict(layer, slot)
        self._free.append(slot)

    def _take(self, layer: int, since_ns: int) -> Arrival:
        """The next arrival. Raises its error, and `ReadStalled` where none comes in time."""
        while True:
            try:
                arrival = self._arrivals.get(timeout=LOOK_S)
                break
            except Empty:
                self._look_after(layer, since_ns)
        if arrival.error is not None:
            self._failure = _told(arrival)
            raise self._failure
        self.view.loading.discard(arrival.job.layer)
        self.trace.loads.append(Stretch(arrival.job.layer, arrival.start_ns, arrival.end_ns, arrival.lane))
        return arrival

    def _look_after(self, layer: int, since_ns: int) -> None:
        if not all(reader.is_alive() for reader in self._readers):
            self._failure = ReadFailed(f"layer {layer}", "its reader has died", "see its error above")
            raise self._failure
        waited_s = (perf_counter_ns() - since_ns) / 1e9
        if waited_s >= self.config.stall_limit_s:
            self._failure = ReadStalled(
                f"layer {layer} of {self.store.folder}",
                f"has not arrived after {waited_s:.1f} s",
                "is its disk well? stall_limit_s says how long is waited",
            )
            raise self._failure

    # -- on a reader

    def _next_job(self) -> Job | None:
        """While passes are made, an idle reader looks for its next job now and then.

        To wake it would cost the thread that computes, which has none to spare, some 40 us a layer.
        """
        while self._running and not self._closing:
            try:
                return self._jobs.get_nowait()
            except Empty:
                time.sleep(IDLE_S)
        return self._jobs.get()

    def _read_jobs(self) -> None:
        lane = threading.current_thread().name
        if self.config.reader_cpus:
            with contextlib.suppress(OSError):  # a CPU that this process may not use: it runs where it can
                os.sched_setaffinity(0, self.config.reader_cpus)
        memory = self.memory

        def stopped() -> bool:
            return self._closing

        while (job := self._next_job()) is not None and not self._closing:
            start_ns, error = perf_counter_ns(), None
            try:
                with phase("weight_load"):
                    if not memory.load(job.layer, job.slot, stopped):
                        return
            except BaseException as problem:  # noqa: BLE001 - whatever ends a reader goes to who waits for it
                error = problem
            self._arrivals.put(Arrival(job, start_ns, perf_counter_ns(), lane, error))
            if error is not None:
                return


def memory_for(store: LayerStore, config: StreamingConfig) -> Memory:
    """The memory that a configuration asks for, on the CPU."""
    return MappedMemory(store) if config.reading == "map" else SlotMemory(store, config.slots)


def _told(arrival: Arrival) -> BaseException:
    error = arrival.error
    if isinstance(error, StreamingError):
        return error
    told = ReadFailed(f"layer {arrival.job.layer}", f"its reader died: {error!r:.200}")
    told.__cause__ = error
    return told


@contextlib.contextmanager
def streaming(
    store: LayerStore, config: StreamingConfig, make: Callable[[LayerStore, StreamingConfig], Streamer] = Streamer
) -> Iterator[Streamer]:
    """A streamer that is closed at the end of the block."""
    streamer = make(store, config)
    try:
        yield streamer
    finally:
        streamer.close()
