"""The other process: a server that answers by method, until its one client stops it or goes.

`python -m perfguard_suites.transport.server --kind shm` prints one JSON line with its endpoint and waits for
the client. It dies with its parent, and exits when the client's end closes.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import psutil

from perfguard_suites.transport.channel import NO_ATTRIBUTES, Channel, Message, Scalar, Tensor
from perfguard_suites.transport.connect import DEFAULT_CAPACITY_BYTES, KINDS, full_endpoint, serve
from perfguard_suites.transport.dtypes import plain
from perfguard_suites.transport.errors import (
    CapacityExceeded,
    ChannelTimeout,
    MalformedMessage,
    PeerDied,
    UnsendableMessage,
)
from perfguard_suites.transport.roundtrip import ERROR
from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US
from perfguard_suites.transport.wire import MAX_TENSORS, Spec, spec_of

STOP = "stop"
CLIENT_GONE = "client gone"
_PR_SET_PDEATHSIG = 1
_IDLE_SLICE_S = 60.0
_MAX_OWNED_BYTES = 4 << 30

Answer = tuple[tuple[Tensor, ...], Mapping[str, Scalar]]
Handler = Callable[[Message, Channel], Answer]


def reply_spec(specs: Sequence[tuple[Sequence[int], str]]) -> str:
    """What `mix` shall return, as its attribute `reply`: `[((2, 3), "float32")]` -> `float32:2,3`."""
    return ";".join(f"{dtype}:{','.join(str(int(extent)) for extent in shape)}" for shape, dtype in specs)


def parse_reply_spec(text: object) -> tuple[Spec, ...]:
    """The inverse of `reply_spec`. Raises `MalformedMessage`."""
    parts = text.split(";") if isinstance(text, str) and text else []
    if len(parts) > MAX_TENSORS:
        raise MalformedMessage("attribute 'reply'", f"{len(parts)} tensors, the limit is {MAX_TENSORS}")
    specs = []
    for part in parts:
        name, _, extents = part.partition(":")
        if not all(extent.isdecimal() for extent in extents.split(",") if extents):
            raise MalformedMessage("attribute 'reply'", f"{part!r:.120} is not dtype:extent,extent,...")
        specs.append(spec_of([name, [int(extent) for extent in extents.split(",") if extents]]))
    return tuple(specs)


class Handlers:
    """The methods of the server, by name, and the tensors that it owns."""

    def __init__(self) -> None:
        self._owned: dict[str, tuple[Tensor, ...]] = {}
        self._owned_bytes = 0
        self.table: Mapping[str, Handler] = {
            "echo": self.echo,
            "echo_loaned": self.echo_loaned,
            "sink": self.sink,
            "mix": self.mix,
            "stats": self.stats,
            STOP: self.sink,
        }

    def echo(self, request: Message, channel: Channel) -> Answer:  # noqa: ARG002 - a handler's signature
        """The same tensors, copied into the server's own direction."""
        return request.tensors, NO_ATTRIBUTES

    def echo_loaned(self, request: Message, channel: Channel) -> Answer:
        """The same tensors in the same memory, where the transport can."""
        return tuple([channel.hand_back(tensor) for tensor in request.tensors]), NO_ATTRIBUTES

    def sink(self, request: Message, channel: Channel) -> Answer:  # noqa: ARG002 - a handler's signature
        """Nothing: the request's tensors have arrived."""
        return (), NO_ATTRIBUTES

    def mix(self, request: Message, channel: Channel) -> Answer:  # noqa: ARG002 - a handler's signature
        """Tensors as attribute `reply` says (see `reply_spec`), which the server owns from the first such call on."""
        text = str(request.attributes.get("reply", ""))
        found = self._owned.get(text)
        if found is None:
            specs = parse_reply_spec(text)
            size_bytes = sum(spec.size_bytes for spec in specs)
            if self._owned_bytes + size_bytes > _MAX_OWNED_BYTES:
                raise CapacityExceeded("attribute 'reply'", f"the server would own more than {_MAX_OWNED_BYTES} bytes")
            found = tuple(_filled(spec) for spec in specs)
            self._owned[text] = found
            self._owned_bytes += size_bytes
        return found, NO_ATTRIBUTES

    def stats(self, request: Message, channel: Channel) -> Answer:  # noqa: ARG002 - a handler's signature
        """What this process has used: CPU seconds, resident bytes, pid, payload bytes."""
        sent_bytes, received_bytes = channel.payload_bytes()
        process = psutil.Process()
        return (), {
            "cpu_s": time.process_time(),
            "rss_bytes": process.memory_info().rss,
            "pid": os.getpid(),
            "sent_bytes": sent_bytes,
            "received_bytes": received_bytes,
        }

    def answer(self, request: Message, channel: Channel) -> Answer:
        """What the method says. Raises `UnsendableMessage` for a method that is none."""
        handler = self.table.get(request.method)
        if handler is None:
            raise UnsendableMessage(
                f"method {request.method!r}", "unknown to this server", f"one of {', '.join(sorted(self.table))}"
            )
        return handler(request, channel)


def _filled(spec: Spec) -> Tensor:
    tensor: Tensor = np.empty(spec.shape, spec.dtype)
    plain(tensor).fill(1)
    return tensor


def serve_channel(channel: Channel, handlers: Handlers) -> bool:
    """Answer requests until `stop` (True) or until the client goes (False).

    What goes wrong in a method, or in what arrives, is an error reply; the next request is as good as any.
    """
    while True:
        request: Message | None = None
        tensors: tuple[Tensor, ...]
        try:
            request = channel.recv(_IDLE_SLICE_S)
            tensors, attributes = handlers.answer(request, channel)
            channel.send(Message(request.method, tensors, attributes, request.request_id, None, request.stamps))
            if request.method == STOP:
                return True
        except ChannelTimeout:
            continue
        except PeerDied:
            return False
        except (MalformedMessage, UnsendableMessage, CapacityExceeded, MemoryError) as error:
            with contextlib.suppress(PeerDied):  # the next recv says so again
                channel.send(_error_reply(error, request))
        # Before the next wait: views that live on would hold their slots.
        tensors = ()


def _error_reply(error: Exception, request: Message | None) -> Message:
    """The reply to a request, or to something that was none (request id 0)."""
    request_id, stamps = (request.request_id, request.stamps) if request else (0, None)
    return Message(ERROR, (), {"problem": f"{type(error).__name__}: {error}"[:2000]}, request_id, None, stamps)


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent goes (Linux); exit if it has gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent_pid and os.getppid() != parent_pid:
        sys.exit("the parent is gone")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one client."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.transport.server", description=__doc__)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--capacity-bytes", type=int, default=DEFAULT_CAPACITY_BYTES)
    parser.add_argument("--spin-us", type=float, default=DEFAULT_SPIN_US)
    parser.add_argument("--parent", type=int, default=0, help="exit when this process is not the parent any more")
    parser.add_argument("--cpu", type=int, default=None, help="run on this CPU only")
    parser.add_argument("--accept-timeout-s", type=float, default=30.0)
    options = parser.parse_args(arguments)
    die_with_parent(options.parent)
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    listener = serve(options.kind, capacity_bytes=options.capacity_bytes, spin_us=options.spin_us)
    try:
        print(json.dumps({"endpoint": full_endpoint(options.kind, listener), "pid": os.getpid()}), flush=True)
        channel = listener.accept(options.accept_timeout_s)
    finally:
        listener.close()
    try:
        if not serve_channel(channel, Handlers()):
            # At once, for who times it: leaving takes the interpreter a while.
            with contextlib.suppress(OSError):
                print(CLIENT_GONE, flush=True)
    finally:
        channel.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
