"""Where the server puts its results: straight into the channel's memory where it can, else moved there afterwards."""

from __future__ import annotations

import math

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
    """The results of one request: `place` gives memory to compute in, `arrays` what is sent, in the wire's dtype.

    One for each session and wire; `arrays` hands the results over and forgets them.
    """

    def __init__(self, channel: Channel, wire: str, device: str, dtype: torch.dtype, *, loans: bool) -> None:
        self._channel = channel
        self._sent_as = torch_dtype(wire)
        self._lent_as = resolve(wire)
        self._device = device
        self._dtype = dtype
        self._loans = loans
        self._in_place = loans and device == "cpu" and dtype == self._sent_as
        self._placed: list[tuple[Tensor, Array | None]] = []

    def place(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Memory for a result: the channel's own if results need neither a move nor a conversion.

        `dtype` other than the compute dtype is an exact type: it is sent as it is.
        """
        if self._in_place and dtype is None and worth_lending(shape):
            array = self._channel.loan(shape, self._lent_as)
            self._placed.append((to_torch(array), array))
        else:
            self._placed.append((torch.empty(shape, dtype=dtype or self._dtype, device=self._device), None))
        return self._placed[-1][0]

    def arrays(self) -> tuple[Array, ...]:
        """What to send: results moved to the host and into the wire's dtype where they are not there yet.

        From a GPU they are only ordered to move: wait for it before they are read.
        """
        placed, self._placed = self._placed, []
        return tuple([self._sendable(tensor) if array is None else array for tensor, array in placed])

    def drop(self) -> None:
        """Forget the results of a request that failed."""
        self._placed = []

    def _sendable(self, tensor: Tensor) -> Array:
        sent_as = self._sent_as if tensor.dtype == self._dtype else tensor.dtype
        tensor = tensor.to(sent_as)  # where it is: a GPU converts faster, and half of it is less to move
        if not self._loans or not worth_lending(tensor.shape):
            return from_torch(tensor.to("cpu", non_blocking=True))
        array = self._channel.loan(tensor.shape, resolve(str(sent_as).removeprefix("torch.")))
        to_torch(array).copy_(tensor, non_blocking=True)
        return array
