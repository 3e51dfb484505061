"""Where the server puts its results: straight into the channel's memory where it can, else moved there afterwards."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from perfguard_suites.transport.channel import Channel
from perfguard_suites.transport.channel import Tensor as Array
from perfguard_suites.transport.dtypes import from_torch, resolve, to_torch

SMALL_ELEMENTS = 1024
_TORCH: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
    "int32": torch.int32,
    "int64": torch.int64,
}


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a wire name."""
    return _TORCH[name]


def worth_lending(shape: tuple[int, ...]) -> bool:
    """Whether a tensor is better computed in lent memory: small ones travel inside the message's own record."""
    return math.prod(shape) > SMALL_ELEMENTS


class ReplyTensors:
    """The results of one request: `place` gives memory to compute in, `arrays` what is sent, in the wire's dtype."""

    def __init__(self, channel: Channel, wire: str, device: str, dtype: torch.dtype, *, loans: bool) -> None:
        self._channel = channel
        self._wire = wire
        self._device = device
        self._dtype = dtype
        self._loans = loans
        self._placed: list[tuple[Tensor, Array | None]] = []

    def place(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Memory for a result: the channel's own if results need neither a move nor a conversion.

        `dtype` other than the compute dtype is an exact type: it is sent as it is.
        """
        wanted = dtype or self._dtype
        sent_as = wanted if dtype else torch_dtype(self._wire)
        if self._device == "cpu" and self._loans and wanted == sent_as and worth_lending(shape):
            array = self._channel.loan(shape, _name(sent_as))
            self._placed.append((to_torch(array), array))
        else:
            self._placed.append((torch.empty(shape, dtype=wanted, device=self._device), None))
        return self._placed[-1][0]

    def arrays(self) -> tuple[Array, ...]:
        """What to send: results moved to the host and into the wire's dtype where they are not there yet."""
        return tuple([self._sendable(tensor) if array is None else array for tensor, array in self._placed])

    def _sendable(self, tensor: Tensor) -> Array:
        sent_as = torch_dtype(self._wire) if tensor.dtype == self._dtype else tensor.dtype
        if not self._loans or not worth_lending(tuple(tensor.shape)):
            return from_torch(tensor.to("cpu", sent_as))
        array = self._channel.loan(tuple(tensor.shape), _name(sent_as))
        to_torch(array).copy_(tensor)
        return array


def wire_name(array: Any) -> str:
    """The wire's name of a received array's dtype."""
    return str(array.dtype.name)


def _name(dtype: torch.dtype) -> Any:
    return resolve(str(dtype).removeprefix("torch."))
