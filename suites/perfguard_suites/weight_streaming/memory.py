"""Memory for layers: places of our own that layers are read into, or the page cache mapped and given back."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from perfguard_suites.weight_streaming.errors import ReadFailed, WeightsFileError
from perfguard_suites.weight_streaming.store import BLOCK, LayerStore

MADV_POPULATE_READ = 22  # Linux 5.14: map the pages, and read those that are not in the page cache
_LIBC = ctypes.CDLL(None, use_errno=True)  # whose calls release the GIL; mmap.madvise does not


class Memory(Protocol):
    """Where layers lie. `load` is called by readers, the others by the thread that computes."""

    def load(self, layer: int, slot: int, stopped: Callable[[], bool]) -> bool:
        """Bring a layer in; False if stopped meanwhile."""

    def tensors(self, layer: int, slot: int) -> Mapping[str, Tensor]:
        """The layer's tensors, which are valid until it is evicted."""

    def evict(self, layer: int, slot: int) -> None:
        """The layer is not needed any more."""

    def close(self) -> None:
        """Let go of the memory."""


class SlotMemory:
    """`slots` places, each large enough for any layer, on pages of their own and touched once: no faults later."""

    def __init__(self, store: LayerStore, slots: int) -> None:
        self._store = store
        size_bytes = max(1, -(-store.slot_bytes // BLOCK)) * BLOCK
        self._maps = [mmap.mmap(-1, size_bytes) for _ in range(slots)]
        self._bytes = [torch.frombuffer(each, dtype=torch.uint8) for each in self._maps]
        for each in self._bytes:
            each.zero_()
        self._views: dict[tuple[int, int], Mapping[str, Tensor]] = {}

    def load(self, layer: int, slot: int, stopped: Callable[[], bool]) -> bool:
        """Copy the layer from its file."""
        return self._store.read(layer, memoryview(self._maps[slot]), stopped)

    def tensors(self, layer: int, slot: int) -> Mapping[str, Tensor]:
        """Views of the place; made once for each layer and place."""
        found = self._views.get((layer, slot))
        if found is None:
            found = self._views[layer, slot] = placed_views(self._store, layer, self._bytes[slot])
        return found

    def evict(self, layer: int, slot: int) -> None:
        """Nothing to do: the place is simply used again."""

    def close(self) -> None:
        """Forget the places; the system takes them back when the last view and reader are gone."""
        self._views.clear()
        self._bytes.clear()
        self._maps.clear()


class MappedMemory:
    """The files themselves, mapped: a layer is brought in by mapping its pages, and evicted by unmapping them.

    Nothing is copied, so a layer that lies in the page cache costs a few page-table entries. `slot` is only counted.
    """

    def __init__(self, store: LayerStore) -> None:
        self._store = store
        # A private, writable mapping, since torch warns of memory that cannot be written to. Nobody writes.
        self._maps = [mmap.mmap(each, 0, access=mmap.ACCESS_COPY) for each in store.descriptors]
        self._bytes = [torch.frombuffer(each, dtype=torch.uint8) for each in self._maps]
        self._ranges = [self._ranges_of(layer) for layer in range(len(store.plans))]
        self._views: dict[int, Mapping[str, Tensor]] = {}

    def load(self, layer: int, slot: int, stopped: Callable[[], bool]) -> bool:  # noqa: ARG002 - see the class
        """Map the layer's pages, reading those that are not in the page cache."""
        for path, address, size in self._ranges[layer]:
            if stopped():
                return False
            if _LIBC.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), MADV_POPULATE_READ):
                problem = os.strerror(ctypes.get_errno())
                raise ReadFailed(f"layer {layer}: {path}", f"mapping its pages: {problem}", "is it still whole?")
        return True

    def tensors(self, layer: int, slot: int) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Views of the mapped file. Raises `WeightsFileError` where a tensor lies askew in it."""
        found = self._views.get(layer)
        if found is None:
            store, views = self._store, {}
            for tensor in store.plans[layer].stored:
                if tensor.offset % tensor.dtype.itemsize:
                    raise WeightsFileError(
                        f"{tensor.path}: {tensor.name}", "is not aligned in its file", "take reading='read'"
                    )
                whole = self._bytes[store.paths.index(tensor.path)]
                views[tensor.name] = (
                    whole[tensor.offset : tensor.offset + tensor.size_bytes].view(tensor.dtype).view(tensor.shape)
                )
            found = self._views[layer] = views
        return found

    def evict(self, layer: int, slot: int) -> None:  # noqa: ARG002
        """Unmap the layer's pages; they stay in the page cache unless they are to be dropped."""
        for _, address, size in self._ranges[layer]:
            _LIBC.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.MADV_DONTNEED)
        if self._store.drops:
            self._store.drop(layer)

    def close(self) -> None:
        """Forget the mappings; they go when the last view is gone."""
        self._views.clear()
        self._bytes.clear()
        self._maps.clear()

    def _ranges_of(self, layer: int) -> list[tuple[str, int, int]]:
        """(file, address, size) of the layer's whole pages, consecutive tensors together."""
        found: list[tuple[str, int, int]] = []
        for tensor in self._store.plans[layer].stored:
            base = self._bytes[self._store.paths.index(tensor.path)].data_ptr()
            begin = base + tensor.offset // BLOCK * BLOCK
            end = base + -(-(tensor.offset + tensor.size_bytes) // BLOCK) * BLOCK
            if found and found[-1][0] == str(tensor.path) and found[-1][1] + found[-1][2] >= begin:
                _, begin, _ = found.pop()
            found.append((str(tensor.path), begin, end - begin))
        return found


def placed_views(store: LayerStore, layer: int, memory: Tensor) -> Mapping[str, Tensor]:
    """The tensors of a layer that lies in `memory`, uint8 of any device."""
    views = {}
    for placed in store.plans[layer].tensors:
        size_bytes = math.prod(placed.shape) * placed.dtype.itemsize
        if placed.offset % placed.dtype.itemsize:
            raise WeightsFileError(
                f"{store.folder}: {placed.name}", "is not aligned in its file", "take direct_io=False"
            )
        views[placed.name] = memory[placed.offset : placed.offset + size_bytes].view(placed.dtype).view(placed.shape)
    return views
