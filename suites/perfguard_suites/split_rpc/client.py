"""The trusted process's end of the channel: requests out, replies in, each reply checked before anyone believes it."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perfguard_suites.split_rpc import protocol
from perfguard_suites.split_rpc.errors import BadReply
from perfguard_suites.split_rpc.threads import idle_cpus, spin_us
from perfguard_suites.transport.channel import NO_ATTRIBUTES, Channel, Message, Scalar, Stamps, Tensor
from perfguard_suites.transport.dtypes import name_of
from perfguard_suites.transport.errors import ChannelTimeout, RemoteError
from perfguard_suites.transport.roundtrip import ERROR

DEFAULT_TIMEOUT_S = 60.0


class Expected(NamedTuple):
    """One tensor that a reply must hold: anything else is refused."""

    shape: tuple[int, ...]
    dtype: str


class Pending(NamedTuple):
    """A request on its way."""

    request_id: int
    method: str
    expected: tuple[Expected, ...]
    sent_ns: int
    elements: int  # of the largest tensor, either way


class Answer(NamedTuple):
    """A checked reply, with the stamps of both messages."""

    pending: Pending
    tensors: tuple[Tensor, ...]
    request_stamps: Stamps
    reply_stamps: Stamps


def _largest(tensors: Sequence[Tensor], expected: tuple[Expected, ...]) -> int:
    return max(*[tensor.size for tensor in tensors], *[math.prod(shape) for shape, _ in expected], 0, 0)


class RpcClient:
    """Requests over one channel, several in flight if the caller wants; the server answers in order.

    After an error the pass is lost, and the channel with it unless the error was a `RemoteError`.
    """

    def __init__(self, channel: Channel, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.channel = channel
        self.timeout_s = timeout_s
        self.calls = 0
        self._idle_cpus = False
        self._ids = itertools.count(1)
        self._pending: deque[Pending] = deque()

    @property
    def in_flight(self) -> int:
        """Requests not answered yet."""
        return len(self._pending)

    def submit(self, method: str, tensors: Sequence[Tensor], expected: tuple[Expected, ...]) -> Pending:
        """Send a request without waiting. Raises the channel's errors."""
        request_id = next(self._ids)
        self.channel.send(Message(method, tuple(tensors), NO_ATTRIBUTES, request_id), self.timeout_s)
        pending = Pending(request_id, method, expected, perf_counter_ns(), _largest(tensors, expected))
        self._pending.append(pending)
        self.calls += 1
        return pending

    def collect(self) -> Answer:
        """The reply to the oldest request in flight.

        Raises `RemoteError` with the server's words, `BadReply` for a reply that is not what was asked for, and the
        channel's errors.
        """
        pending = self._pending.popleft()
        self.channel.spin_for(spin_us(pending.elements, idle=self._idle_cpus))
        reply = self.channel.recv(self.timeout_s)
        self._check(pending, reply)
        if reply.stamps is None or reply.request_stamps is None:
            raise BadReply(f"reply to {pending.method!r}", "carries no stamps", "is the server of the same version?")
        return Answer(pending, reply.tensors, reply.request_stamps, reply.stamps)

    def _check(self, pending: Pending, reply: Message) -> None:
        culprit = f"reply to {pending.method!r}"
        if reply.method == ERROR and reply.request_id in {0, pending.request_id}:
            self._pending.clear()
            raise RemoteError(f"operation {pending.method!r}", str(reply.attributes.get("problem", "failed")))
        if reply.request_id != pending.request_id:
            raise BadReply(culprit, f"answers request {reply.request_id}, not {pending.request_id}")
        if reply.method != pending.method:
            raise BadReply(culprit, f"is one to {reply.method!r:.80}")
        if len(reply.tensors) != len(pending.expected):
            raise BadReply(culprit, f"holds {len(reply.tensors)} tensors, not {len(pending.expected)}")
        for found, (shape, dtype) in zip(reply.tensors, pending.expected, strict=True):
            if found.shape != shape:
                raise BadReply(culprit, f"holds a tensor of shape {found.shape}, not {shape}")
            if name_of(found.dtype) != dtype:
                raise BadReply(culprit, f"holds a tensor of {found.dtype}, not {dtype}")

    # -- controls

    def health(self, timeout_s: float = 10.0) -> Mapping[str, Scalar]:
        """Model, digest, device, dtype, threads, pid and peak resident bytes of the server.

        From then on waits for replies spin where the server's threads leave a CPU to do so.
        """
        found = self._control(protocol.HEALTH, {}, timeout_s).attributes
        self._idle_cpus = idle_cpus(found.get("threads"), str(found.get("device")))
        return found

    def start(
        self,
        positions: int,
        *,
        loans: bool,
        threads: int = 0,
        masked: bool = False,
        fault: str = "none",
        fault_at: int = 1,
    ) -> None:
        """Begin a request of at most that many positions; the server forgets earlier ones.

        `threads`: of this process's own steps, 0 if unknown: beside them the server may spin where a CPU is left.

        `fault`, one of `protocol.FAULTS`: what the server shall do wrong in operation `fault_at`, if it allows that.
        """
        attributes: dict[str, Scalar] = {
            "positions": positions,
            "loans": loans,
            "threads": threads,
            "masked": masked,
        }
        if fault != "none":
            attributes |= {"fault": fault, "fault_at": fault_at}
        self._control(protocol.START, attributes, self.timeout_s)

    def ledger(self) -> npt.NDArray[np.int64]:
        """The server's stamps since the last time, shape (operations, `protocol.LEDGER_COLUMNS`). Raises `BadReply`."""
        reply = self._control(protocol.LEDGER, {}, self.timeout_s)
        if len(reply.tensors) != 1 or reply.tensors[0].dtype != np.int64 or reply.tensors[0].ndim != 2:
            raise BadReply("ledger", "is no table of integers", "is the server of the same version?")
        if reply.tensors[0].shape[1] != len(protocol.LEDGER_COLUMNS):
            raise BadReply("ledger", f"has {reply.tensors[0].shape[1]} columns, not {len(protocol.LEDGER_COLUMNS)}")
        return np.array(reply.tensors[0])

    def share(self, request_elements: int, reply_elements: int) -> bytes:
        """Have the server share device memory for so many float32 elements each way; its handle.

        Raises `RemoteError` where it has no GPU, `BadReply` for an answer without a handle.
        """
        attributes: dict[str, Scalar] = {"request_elements": request_elements, "reply_elements": reply_elements}
        reply = self._control(protocol.SHARE, attributes, self.timeout_s)
        if len(reply.tensors) != 1 or reply.tensors[0].dtype != np.uint8 or reply.tensors[0].ndim != 1:
            raise BadReply("share", "holds no handle", "is the server of the same version?")
        return reply.tensors[0].tobytes()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask the server to leave."""
        self._control(protocol.STOP, {}, timeout_s)

    def _control(self, method: str, attributes: Mapping[str, Scalar], timeout_s: float) -> Message:
        if self._pending:
            raise BadReply(f"control {method!r}", f"{len(self._pending)} requests are in flight", "collect them first")
        request_id = next(self._ids)
        deadline_ns = perf_counter_ns() + int(timeout_s * 1e9)
        self.channel.send(Message(method, (), attributes, request_id), timeout_s)
        reply = self.channel.recv(timeout_s)
        while reply.request_id != request_id:  # replies to a pass that was given up
            left_s = (deadline_ns - perf_counter_ns()) / 1e9
            if left_s <= 0:
                raise ChannelTimeout(self.channel.endpoint, f"no reply to {method!r} within {timeout_s} s")
            reply = self.channel.recv(left_s)
        if reply.method == ERROR:
            raise RemoteError(f"control {method!r}", str(reply.attributes.get("problem", "failed")))
        return reply

    def close(self) -> None:
        """Close the channel; idempotent. The server's session ends with it."""
        self.channel.close()
