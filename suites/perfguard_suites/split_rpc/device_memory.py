"""Activations in device memory that both processes map: what a call takes and gives lies there, not in its messages.

The server allocates it and the client attaches its handle (`cuda_ipc`). A request's tensors lie in the first part one
after another, the reply's in the second; the shapes are words of the method, so that messages carry no tensor at all.
One call is in flight at a time, and each side waits for its device before it says that it is done: whoever has the word
has the memory. Nothing is hidden in it, see `cuda_ipc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from perfguard_suites.split_rpc import cuda_ipc
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.errors import ConfigurationError, UnknownOperation
from perfguard_suites.split_rpc.traffic import predict
from perfguard_suites.split_rpc.variants import Variant
from perfguard_suites.transport.mix import TensorShape

Shapes = tuple[tuple[int, ...], ...]
ITEM_BYTES = 4
ALIGN_ELEMENTS = 64
MAX_ELEMENTS = 1 << 32


class Room(NamedTuple):
    """Float32 elements for requests and for replies."""

    request: int
    reply: int


def room_for(config: ModelConfig, variant: Variant, positions: int) -> Room:
    """What the largest call of a pass over that many positions needs."""
    calls = predict(config, variant, positions)
    sides = [[_extent(_shapes(side)) for side in (call.request, call.reply)] for call in calls]
    return Room(max(request for request, _ in sides), max(reply for _, reply in sides))


class DeviceArena:
    """Shared memory, float32, (elements,): views of it for requests and replies, and how much was handed over."""

    def __init__(self, memory: Tensor, room: Room) -> None:
        self._memory = memory
        self._room = room
        self.sent_bytes = self.received_bytes = 0

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self._memory.device

    def request(self, shapes: Shapes) -> tuple[Tensor, ...]:
        """Where the tensors of a request lie. Raises `UnknownOperation` for more than there is room for."""
        return self._views(shapes, 0, self._room.request)

    def reply(self, shapes: Shapes) -> tuple[Tensor, ...]:
        """Where the tensors of a reply lie. Raises `UnknownOperation`."""
        return self._views(shapes, _aligned(self._room.request), self._room.reply)

    def wait(self) -> None:
        """Until everything that was ordered from the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def count(self, request: Shapes, reply: Shapes) -> None:
        """A call has handed these over."""
        self.sent_bytes += ITEM_BYTES * sum(prod(shape) for shape in request)
        self.received_bytes += ITEM_BYTES * sum(prod(shape) for shape in reply)

    def _views(self, shapes: Shapes, at: int, room: int) -> tuple[Tensor, ...]:
        if _extent(shapes) > room:
            raise UnknownOperation(
                f"shared tensors of {shapes!r:.80}", f"need {_extent(shapes)} elements of {room}", "share more memory"
            )
        views = []
        for shape in shapes:
            views.append(self._memory[at : at + prod(shape)].view(shape))
            at += _aligned(prod(shape))
        return tuple(views)


class SharedPlaces:
    """A reply's places in the arena: results must have the shapes that the request promised its maker."""

    def __init__(self, arena: DeviceArena, promised: Shapes) -> None:
        self._promised = promised
        self._left = list(zip(promised, arena.reply(promised), strict=True))

    def place(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """The next result's memory. Raises `UnknownOperation` where another shape was promised."""
        if not self._left or self._left[0][0] != shape or dtype not in {None, torch.float32}:
            raise UnknownOperation(f"shared reply {self._promised!r:.80}", f"the result is {shape} of {dtype}")
        return self._left.pop(0)[1]

    def arrays(self) -> tuple[()]:
        """Nothing travels. Raises `UnknownOperation` where a promised result was not computed."""
        if self._left:
            raise UnknownOperation(f"shared reply {self._promised!r:.80}", f"{len(self._left)} results are missing")
        return ()

    def drop(self) -> None:
        """Forget the results of a request that failed."""


def allocate(room: Room, device: str) -> tuple[DeviceArena, bytes]:
    """The server's: fresh memory and its handle. Raises `ConfigurationError` without a GPU or for too much."""
    if not device.startswith("cuda"):
        raise ConfigurationError("shared device memory", f"the server computes on {device}", "needs a CUDA device")
    if min(room) < 1 or _total(room) > MAX_ELEMENTS:
        raise ConfigurationError("shared device memory", f"{room} is not in 1 .. {MAX_ELEMENTS} elements")
    memory = torch.zeros(_total(room), device=device)
    return DeviceArena(memory, room), cuda_ipc.export(memory)


def attach(handle: bytes, room: Room) -> DeviceArena:
    """The client's. Raises `BadReply` for what is no handle, or of less memory than was asked for."""
    memory = cuda_ipc.attach(handle)
    if memory.dtype is not torch.float32 or memory.ndim != 1 or memory.numel() != _total(room):
        raise ConfigurationError("shared device memory", f"{memory.dtype} {tuple(memory.shape)} instead of {room}")
    return DeviceArena(memory, room)


def _shapes(tensors: Sequence[TensorShape]) -> Shapes:
    return tuple(tensor.shape for tensor in tensors)


def _aligned(elements: int) -> int:
    return elements + -elements % ALIGN_ELEMENTS


def _extent(shapes: Shapes) -> int:
    return sum(_aligned(prod(shape)) for shape in shapes)


def _total(room: Room) -> int:
    return _aligned(room.request) + _aligned(room.reply)
