"""One way to open a channel of any kind: `serve` on one side, `connect` on the other.

An endpoint names its kind, `kind+address` (`shm+@perfguard-1f2e`, `naive-tcp+tcp://127.0.0.1:40123`), so that
what the server prints is all that the client needs.
"""

from __future__ import annotations

from typing import Protocol

from perfguard_suites.transport.channel import Channel
from perfguard_suites.transport.errors import CapacityExceeded, ChannelUnavailable
from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US
from perfguard_suites.transport.shm_handshake import ShmListener, connect_shm
from perfguard_suites.transport.zmq_channel import ZmqListener, connect_zmq

SHARED_KINDS = ("shm", "shm-zmq")
ZMQ_KINDS = ("naive-ipc", "naive-tcp", "multipart-ipc", "multipart-tcp")
KINDS = (*ZMQ_KINDS, *SHARED_KINDS)
DEFAULT_CAPACITY_BYTES = 256 * 1024 * 1024


class Listener(Protocol):
    """A server's end before its one peer is there."""

    @property
    def endpoint(self) -> str:
        """Where to connect, without the kind."""

    def accept(self, timeout_s: float) -> Channel:
        """The channel to the first peer that shakes hands. Raises `ChannelUnavailable`."""

    def close(self) -> None:
        """Stop listening; idempotent, leaves an accepted channel alone."""


def serve(kind: str, *, capacity_bytes: int = DEFAULT_CAPACITY_BYTES, spin_us: float = DEFAULT_SPIN_US) -> Listener:
    """Listen on a fresh private endpoint.

    `capacity_bytes` is the most that one message (ZeroMQ) or all tensors in flight in one direction (shared
    memory) can take. `spin_us` bounds the busy wait of the shared-memory doorbell, 0 for none.
    Raises `ChannelUnavailable` for an unknown kind or one this platform has not.
    """
    if capacity_bytes <= 0:
        raise CapacityExceeded("capacity_bytes", f"{capacity_bytes} carries nothing", "set a positive capacity_bytes")
    if kind in ZMQ_KINDS:
        return ZmqListener(kind, capacity_bytes)
    if kind in SHARED_KINDS:
        return ShmListener(kind, capacity_bytes, spin_us)
    raise ChannelUnavailable(f"kind {kind!r}", "is none", f"one of {', '.join(KINDS)}")


def full_endpoint(kind: str, listener: Listener) -> str:
    """What to hand to `connect`."""
    return f"{kind}+{listener.endpoint}"


def connect(
    endpoint: str,
    *,
    capacity_bytes: int = DEFAULT_CAPACITY_BYTES,
    spin_us: float = DEFAULT_SPIN_US,
    timeout_s: float = 10.0,
) -> Channel:
    """The client's end of `kind+address`. Raises `ChannelUnavailable`."""
    kind, _, address = endpoint.partition("+")
    if kind in ZMQ_KINDS:
        return connect_zmq(kind, address, capacity_bytes, timeout_s)
    if kind in SHARED_KINDS:
        return connect_shm(kind, address, capacity_bytes, spin_us, timeout_s)
    raise ChannelUnavailable(f"endpoint {endpoint!r:.120}", "names no kind of channel", f"one of {', '.join(KINDS)}")
