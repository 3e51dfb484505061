"""One client's session in the server: requests answered in order, with a ledger of where the time of each one went.

The ledger is fetched after a pass, not sent along: stamps in every reply would make each metadata body a new one.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np
import torch

from perfguard_suites.split_rpc import cuda_ipc, protocol, threads
from perfguard_suites.split_rpc.clocks import clock_name
from perfguard_suites.split_rpc.device_memory import DeviceArena, Room, SharedPlaces, allocate
from perfguard_suites.split_rpc.errors import SplitError, UnknownOperation
from perfguard_suites.split_rpc.gpu_host import StageClock
from perfguard_suites.split_rpc.operations import ServerModel, SessionOperations
from perfguard_suites.split_rpc.replies import ReplyTensors
from perfguard_suites.split_rpc.variants import WIRES
from perfguard_suites.transport.channel import NO_ATTRIBUTES, Channel, Message, Scalar
from perfguard_suites.transport.dtypes import name_of, to_torch
from perfguard_suites.transport.errors import (
    CapacityExceeded,
    ChannelTimeout,
    MalformedMessage,
    PeerDied,
    UnsendableMessage,
)
from perfguard_suites.transport.roundtrip import ERROR
from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perfguard_suites.transport.channel import Tensor as Array

_IDLE_SLICE_S = 60.0
MAX_LEDGER = 16384


@dataclass
class Fault:
    """What shall go wrong in which operation of a session, counted from 1: for tests of the client."""

    kind: str = "none"
    at: int = 0
    seen: int = 0

    def due(self) -> str:
        """The fault of the operation now beginning, or `none`."""
        self.seen += 1
        return self.kind if self.seen == self.at else "none"


@dataclass
class Session:
    """A channel, the operations on it, and what they took."""

    channel: Channel
    model: ServerModel
    faults_allowed: bool = False
    fault: Fault = field(default_factory=Fault)
    loans: bool = False
    pinned_bytes: int = 0
    ledger: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._operations = SessionOperations(self.model)
        self._on_gpu = self.model.device.startswith("cuda")
        self._idle_cpus = False
        self._clock = StageClock(self.model.device)
        self._places: dict[str, ReplyTensors] = {}
        self._arena: DeviceArena | None = None
        self._controls = {
            protocol.HEALTH: self._health,
            protocol.START: self._start,
            protocol.LEDGER: self._take_ledger,
            protocol.SHARE: self._share,
            protocol.STOP: self._nothing,
        }

    @torch.inference_mode()
    def serve(self) -> bool:
        """Answer until the client stops the server (True) or goes (False)."""
        while True:
            request: Message | None = None
            try:
                ready_ns = perf_counter_ns()
                request = self.channel.recv(_IDLE_SLICE_S)
                self._answer(request, ready_ns)
                if request.method == protocol.STOP:
                    return True
            except ChannelTimeout:
                continue
            except PeerDied:
                return False
            except (MalformedMessage, UnsendableMessage, CapacityExceeded, SplitError, MemoryError, RuntimeError) as e:
                with contextlib.suppress(PeerDied):  # the next recv says so again
                    self.channel.send(_error_reply(e, request))

    def close(self) -> None:
        """Let go of shared device memory; idempotent."""
        if self._arena is not None:
            self._arena = None
            cuda_ipc.collect()

    def _answer(self, request: Message, ready_ns: int) -> None:
        control = self._controls.get(request.method)
        if control is not None:
            tensors, attributes = control(request)
            self.channel.spin_for(DEFAULT_SPIN_US)
            self.channel.send(Message(request.method, tensors, attributes, request.request_id, None, request.stamps))
            return
        fault = self.fault.due() if self.faults_allowed else "none"
        operation, shared = protocol.parse_shared(request.method)
        clock = self._clock
        clock.begin()
        inputs: Sequence[torch.Tensor]
        places: ReplyTensors | SharedPlaces
        if shared is None:
            arrays = request.tensors
            inputs = [self._moved(array) for array in arrays]
            wire = operation.dtype or (name_of(arrays[0].dtype) if arrays else "float32")
            places = self._places.get(wire) or self._places_of(wire)
        else:
            inputs, places = self._in_arena(*shared)
        clock.taken()
        if fault in {"die", "stall"}:
            _misbehave(fault)
        try:
            self._operations.compute(operation, inputs, places.place)
        except BaseException:
            places.drop()
            raise
        clock.computed()
        results = places.arrays()
        taken_ns, computed_ns, converted_ns = clock.finish()
        request_id = request.request_id
        if fault != "none":
            results, request_id = _spoilt(fault, results, request_id)
        self.channel.send(Message(request.method, results, NO_ATTRIBUTES, request_id, None, request.stamps))
        sent_ns = perf_counter_ns()
        elements = max(0, 0, *[array.size for array in request.tensors], *[array.size for array in results])
        self.channel.spin_for(threads.spin_us(elements, idle=self._idle_cpus))
        if len(self.ledger) < MAX_LEDGER:
            self.ledger.append((request.request_id, ready_ns, taken_ns, computed_ns, converted_ns, sent_ns))

    def _moved(self, array: Array) -> torch.Tensor:
        """A received tensor on the device, in its compute dtype unless its values are integers."""
        tensor, model = to_torch(array), self.model
        if self._on_gpu:  # converted there: half precision is less to move
            tensor = tensor.to(model.device, non_blocking=True)
        return tensor.to(model.dtype) if tensor.is_floating_point() else tensor

    def _in_arena(
        self, asked: protocol.Shapes, promised: protocol.Shapes
    ) -> tuple[tuple[torch.Tensor, ...], SharedPlaces]:
        """A request's tensors and its reply's places in shared memory. Raises `UnknownOperation` if none is shared."""
        if self._arena is None:
            raise UnknownOperation("shared tensors", "no memory is shared", "ask for it with share")
        return self._arena.request(asked), SharedPlaces(self._arena, promised)

    def _places_of(self, wire: str) -> ReplyTensors:
        if wire not in WIRES:
            wire = "float32"
        places = ReplyTensors(self.channel, wire, self.model.device, self.model.dtype, loans=self.loans)
        self._places[wire] = places
        return places

    # -- controls

    def _health(self, request: Message) -> tuple[tuple[Array, ...], Mapping[str, Scalar]]:  # noqa: ARG002
        """Who this is: compared with what the client believes."""
        model = self.model
        return (), {
            "model": model.config.name,
            "digest": model.config.digest,
            "device": device_name(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "pid": os.getpid(),
            "peak_rss_bytes": peak_rss_bytes(),
            "pinned_bytes": self.pinned_bytes,
            "clock": clock_name(),
        }

    def _start(self, request: Message) -> tuple[tuple[Array, ...], Mapping[str, Scalar]]:
        """A fresh request: positions forgotten, the ledger empty."""
        positions = request.attributes.get("positions")
        if type(positions) is not int:
            raise UnknownOperation("start: positions", f"{positions!r:.40} is not an integer")
        self._idle_cpus = threads.idle_cpus(request.attributes.get("threads"))
        self.loans = bool(request.attributes.get("loans", False))
        self._places.clear()
        fault, at = request.attributes.get("fault", "none"), request.attributes.get("fault_at", 1)
        if fault != "none" and not (self.faults_allowed and fault in protocol.FAULTS and type(at) is int):
            raise UnknownOperation(f"start: fault {fault!r:.40}", "is not allowed here", "serve with --allow-faults")
        self.fault = Fault(str(fault), int(at or 1))
        if request.attributes.get("masked", False):
            self.model.prepare_masked()
        self._operations.start(positions)
        self.ledger.clear()
        return (), NO_ATTRIBUTES

    def _take_ledger(self, request: Message) -> tuple[tuple[Array, ...], Mapping[str, Scalar]]:  # noqa: ARG002
        """One row per operation since the last time, with `protocol.LEDGER_COLUMNS`."""
        rows = np.array(self.ledger, np.int64).reshape(-1, len(protocol.LEDGER_COLUMNS))
        self.ledger.clear()
        return (rows,), NO_ATTRIBUTES

    def _share(self, request: Message) -> tuple[tuple[Array, ...], Mapping[str, Scalar]]:
        """Device memory for this client's requests and replies instead of any earlier one, and its handle."""
        wanted = [request.attributes.get(name) for name in ("request_elements", "reply_elements")]
        if any(type(each) is not int for each in wanted) or self.model.dtype is not torch.float32:
            raise UnknownOperation("share", f"{wanted!r:.60} elements of {self.model.dtype}", "serve in float32")
        self._arena = None
        room = Room(*(int(each or 0) for each in wanted))
        self._arena, handle = allocate(room, self.model.device)
        return (np.frombuffer(handle, np.uint8),), NO_ATTRIBUTES

    def _nothing(self, request: Message) -> tuple[tuple[Array, ...], Mapping[str, Scalar]]:  # noqa: ARG002
        """The last reply before the server leaves."""
        return (), NO_ATTRIBUTES


def peak_rss_bytes() -> int:
    """The most memory this process has had resident.

    From the kernel's own mark (VmHWM) where there is one: getrusage's survives exec, so that a child starts with the
    peak of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def device_name(device: str) -> str:
    """What computes: the GPU's name, or `cpu`."""
    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def _misbehave(fault: str) -> None:
    """End in the middle of a call, or stop in it as a hung server would."""
    os.kill(os.getpid(), signal.SIGKILL if fault == "die" else signal.SIGSTOP)


def _spoilt(fault: str, results: Sequence[Array], request_id: int) -> tuple[tuple[Array, ...], int]:
    """What a broken or lying server sends instead."""
    arrays = [np.array(array) for array in results]
    if fault == "wrong-shape":
        arrays[0] = arrays[0][:-1] if arrays[0].shape[0] > 1 else np.concatenate([arrays[0], arrays[0]])
    elif fault == "wrong-dtype":
        arrays[0] = arrays[0].astype(np.float64)
    elif fault == "extra-tensor":
        arrays.append(arrays[0])
    elif fault == "lie":
        arrays[0].reshape(-1)[0] += 1
    elif fault == "wrong-id":
        request_id += 1000
    return tuple(arrays), request_id


def _error_reply(error: Exception, request: Message | None) -> Message:
    """The reply to a request, or to something that was none (request id 0)."""
    request_id, stamps = (request.request_id, request.stamps) if request else (0, None)
    return Message(ERROR, (), {"problem": f"{type(error).__name__}: {error}"[:2000]}, request_id, None, stamps)
