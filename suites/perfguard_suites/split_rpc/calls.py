"""What a pass of the trusted model yields and is given: a call to make, and its results."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from torch import Tensor

from perfguard_suites.split_rpc.client import Expected
from perfguard_suites.split_rpc.protocol import Operation
from perfguard_suites.transport.channel import Tensor as Array

Results = tuple[Tensor, ...]


class Outgoing(NamedTuple):
    """A tensor to be sent: to compute into, and as the channel takes it."""

    tensor: Tensor
    array: Array


class Call(NamedTuple):
    """A request that a pass waits for, and what its reply must hold.

    `shapes`: of tensors that do not travel, as words of the method; `placed`: where the results will lie then.
    """

    operation: Operation
    tensors: tuple[Array, ...]
    expected: tuple[Expected, ...]
    shapes: str = ""
    placed: Results | None = None

    @property
    def method(self) -> str:
        """The method of the message."""
        return self.operation.method + self.shapes


Steps = Generator[Call, Results, Tensor]
