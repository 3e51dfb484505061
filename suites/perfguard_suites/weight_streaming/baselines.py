"""What streaming is measured against: the model all in memory, loading and computing in turn, and the seed's scheme."""

from __future__ import annotations

import contextlib
import mmap
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import perf_counter_ns

from torch import Tensor

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.split_rpc.weights import tensor_shapes
from perfguard_suites.weight_streaming.config import StreamingConfig
from perfguard_suites.weight_streaming.making import resident_weights
from perfguard_suites.weight_streaming.memory import SlotMemory
from perfguard_suites.weight_streaming.store import LayerStore
from perfguard_suites.weight_streaming.streamer import Held, Streamer
from perfguard_suites.weight_streaming.trace import READY, Stretch, Trace

Passes = Callable[[int], Tensor]
SEED_CACHE, SEED_AHEAD = 4, 2


def resident(folder: Path, config: ModelConfig, ids: Tensor, dtype: str) -> Passes:
    """`count` passes of the model with all its weights in memory."""
    model = ReferenceModel(config, resident_weights(folder, config, dtype=dtype), len(ids))

    def passes(count: int) -> Tensor:
        for _ in range(count):
            model.reset()
            logits = model.forward(ids)
        return logits

    return passes


def load_only(streamer: Streamer) -> Callable[[int], Trace]:
    """`count` passes of a streamer that nobody computes with."""

    def passes(count: int) -> Trace:
        streamer.begin(count)
        for _ in range(count * streamer.layers):
            streamer.acquire()
            streamer.release()
        return streamer.finish()

    return passes


@contextlib.contextmanager
def page_aligned(size_bytes: int) -> Iterator[memoryview]:
    """Memory on pages of its own, touched: the kernel copies there thrice as fast as to an odd address."""
    with mmap.mmap(-1, size_bytes) as place:
        place.write(bytes(size_bytes))
        memory = memoryview(place)
        try:
            yield memory
        finally:
            memory.release()


@contextlib.contextmanager
def plain_readinto(store: LayerStore, memory: memoryview) -> Iterator[Callable[[int], None]]:
    """`count` times the weights of all layers with `readinto` of an unbuffered file, each layer to the same place."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("rb", buffering=0)) for path in store.paths]

        def passes(count: int) -> None:
            for _ in range(count):
                for plan in store.plans:
                    at = 0
                    for request in plan.requests:
                        file = files[request.file]
                        file.seek(request.offset)
                        at += file.readinto(memory[at : at + request.wanted]) or 0

        yield passes


def layer_shapes(config: ModelConfig) -> Mapping[str, tuple[int, ...]]:
    """Name and shape of every streamed tensor."""
    return {name: shape for name, shape in tensor_shapes(config).items() if name.startswith("model.layers.")}


class SerialStreamer(Streamer):
    """The same reads into the same memory by the thread that computes, one layer at a time: nothing overlaps.

    `cache`, `ahead`: the seed's scheme, which ensures the weights of the next layers as well before it computes, each
    copied synchronously, and evicts the least recently used.
    """

    def __init__(self, store: LayerStore, config: StreamingConfig, *, cache: int = 1, ahead: int = 0) -> None:
        self.store, self.config, self.layers = store, config, len(store.plans)
        self.trace = Trace()
        self._cache = max(cache, ahead + 1)
        self._ahead = ahead
        self._places = SlotMemory(store, self._cache)
        self._cached: OrderedDict[int, int] = OrderedDict()
        self._at = self._end = 0

    def begin(self, passes: int = 0) -> None:
        """A new trace."""
        self._end = self._at + (passes or 1 << 40) * self.layers
        self.trace = Trace()
        self.trace.begin_ns = perf_counter_ns()

    def acquire(self) -> Held:
        """Load what is missing of this layer and the next ones."""
        start_ns = perf_counter_ns()
        layer = self._at % self.layers
        for index in range(self._at, min(self._at + self._ahead + 1, self._end)):
            self._ensure(index % self.layers)
        self.trace.waits.append(Stretch(layer, start_ns, perf_counter_ns(), READY))
        return Held(layer, self._places.tensors(layer, self._cached[layer]))

    def release(self) -> None:
        """The next layer's turn."""
        self._at += 1

    def close(self) -> None:
        """Let go of the memory."""
        self._places.close()

    def _ensure(self, layer: int) -> None:
        if layer in self._cached:
            self._cached.move_to_end(layer)
            return
        if len(self._cached) == self._cache:
            _, slot = self._cached.popitem(last=False)
        else:
            slot = len(self._cached)
        start_ns = perf_counter_ns()
        self._places.load(layer, slot, lambda: False)
        self._cached[layer] = slot
        self.trace.loads.append(Stretch(layer, start_ns, perf_counter_ns()))


def seed_scheme(store: LayerStore, config: StreamingConfig) -> SerialStreamer:
    """The seed's: four cached layers, two ahead, least recently used, synchronous copies."""
    return SerialStreamer(store, config, cache=SEED_CACHE, ahead=SEED_AHEAD)
