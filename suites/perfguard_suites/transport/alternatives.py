"""The pieces that ratios are made of: each a callable without arguments, to be timed in turn with the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from perfguard_suites.transport.channel import Channel, Message, Tensor
from perfguard_suites.transport.roundtrip import Client

Trip = Callable[[], None]


def payload(size_bytes: int) -> Tensor:
    """`size_bytes` (rounded down to a multiple of 4) of float32 that were really written: no shared zero page."""
    return np.arange(size_bytes // 4, dtype=np.float32)


def memcpy(size_bytes: int) -> Trip:
    """M: `np.copyto` of that many bytes between two warm arrays of this process."""
    source = payload(size_bytes)
    target = np.zeros_like(source)

    def trip() -> None:
        np.copyto(target, source)

    return trip


def echo(channel: Channel, size_bytes: int) -> Trip:
    """A round trip with that payload copied both ways; 0 for no tensor at all."""
    client = Client(channel)
    message = Message("echo", (payload(size_bytes),) if size_bytes else ())

    def trip() -> None:
        client.call(message)

    return trip


def one_way(channel: Channel, size_bytes: int) -> Trip:
    """That payload to the server, which acknowledges it without one: the way there, and an empty way back."""
    client = Client(channel)
    message = Message("sink", (payload(size_bytes),))

    def trip() -> None:
        client.call(message)

    return trip


def loaned(channel: Channel, size_bytes: int) -> Trip:
    """Borrow, send, and get the same memory back from the server: nothing is copied."""
    client = Client(channel)
    shape = (size_bytes // 4,)

    def trip() -> None:
        client.call(Message("echo_loaned", (channel.loan(shape, np.float32),)))

    return trip
