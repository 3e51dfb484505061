"""The host's side of a server's GPU: the channel's shared memory page-locked, and stages timed by the device itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch

from perfguard_suites.transport.channel import Channel
from perfguard_suites.transport.shm_channel import ShmChannel, ShmZmqChannel

_CUDA: Any = torch.cuda  # torch's annotations stop here
_READ_ONLY = 0x08  # cudaHostRegisterReadOnly


class PinnedRegions:
    """A shared-memory channel's regions, registered with CUDA: copies go straight between them and the device.

    What CUDA refuses (a driver that cannot lock read-only mappings, a limit on locked memory) stays as it is, and
    copies of it go through the driver's own buffers. `close` undoes it; idempotent.
    """

    def __init__(self, channel: Channel, device: str) -> None:
        self._runtime: Any = None
        self._addresses: list[int] = []
        self.pinned_bytes = 0
        if not device.startswith("cuda") or not isinstance(channel, ShmChannel | ShmZmqChannel):
            return
        self._runtime = _CUDA.cudart()
        for memory, flags in zip(channel.regions, (0, _READ_ONLY), strict=True):
            address = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
            if int(self._runtime.cudaHostRegister(address, memory.nbytes, flags)):
                with contextlib.suppress(RuntimeError):
                    torch.zeros(1, device=device)  # CUDA remembers the error, and torch takes it for the next kernel's
                continue
            self._addresses.append(address)
            self.pinned_bytes += memory.nbytes

    def close(self) -> None:
        """Give the memory back to the pager."""
        while self._addresses:
            self._runtime.cudaHostUnregister(self._addresses.pop())


@contextlib.contextmanager
def pinned(channel: Channel, device: str) -> Iterator[PinnedRegions]:
    """The channel's regions page-locked inside the block, where there is a GPU."""
    regions = PinnedRegions(channel, device)
    try:
        yield regions
    finally:
        regions.close()


class StageClock:
    """When a request's tensors had arrived on the device, and when its results were computed and back.

    On a GPU its own events tell, so that the host waits once for each request and not after every stage; between two
    events the device's clock counts, and the last one's end is where the two clocks meet.
    """

    def __init__(self, device: str) -> None:
        on_gpu = device.startswith("cuda")
        self._events = [_CUDA.Event(enable_timing=True) for _ in range(3)] if on_gpu else []
        self._begun_ns = self._taken_ns = self._computed_ns = 0

    def begin(self) -> None:
        """A request is about to be taken up."""
        self._begun_ns = perf_counter_ns()

    def taken(self) -> None:
        """Its tensors are on the device, or ordered to go there."""
        if self._events:
            self._events[0].record()
        else:
            self._taken_ns = perf_counter_ns()

    def computed(self) -> None:
        """Its results are computed, or ordered to be."""
        if self._events:
            self._events[1].record()
        else:
            self._computed_ns = perf_counter_ns()

    def finish(self) -> tuple[int, int, int]:
        """Wait for the device; when the tensors were taken, computed with, and the results on the host."""
        if not self._events:
            return self._taken_ns, self._computed_ns, perf_counter_ns()
        taken, computed, finished = self._events
        finished.record()
        finished.synchronize()
        end_ns = perf_counter_ns()
        taken_ns = max(self._begun_ns, end_ns - int(1e6 * taken.elapsed_time(finished)))
        computed_ns = max(taken_ns, end_ns - int(1e6 * computed.elapsed_time(finished)))
        return taken_ns, computed_ns, end_ns
