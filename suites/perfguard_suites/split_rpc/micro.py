"""Micro-measurements for the time model: calls that compute nothing, single calls that do, single steps of the client.

Each is measured once per sweep; a field of variants sweeps between its rounds, so that the machine's drift is in both.
Means, not medians: what a busy machine adds to short measurements now and then, a long pass pays for on the average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch

from perfguard_suites.split_rpc import arithmetic, micro_calls, micro_guards, protocol
from perfguard_suites.split_rpc.account import COMPUTE, call_stretches, stamps_of
from perfguard_suites.split_rpc.calls import Call, Steps
from perfguard_suites.split_rpc.client import Expected, RpcClient
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.device_memory import DeviceArena
from perfguard_suites.split_rpc.micro_steps import OwnSteps
from perfguard_suites.split_rpc.protocol import Operation
from perfguard_suites.split_rpc.replies import torch_dtype
from perfguard_suites.split_rpc.runner import SplitModel, drive
from perfguard_suites.split_rpc.time_model import (
    BY_HANDLE,
    Point,
    TimeModel,
    Transport,
    fit,
    more_tensors,
    transport_of,
)
from perfguard_suites.split_rpc.timeline import Timeline
from perfguard_suites.transport.dtypes import from_torch, resolve, to_torch
from perfguard_suites.transport.latency_model import SizePoint

KIB, MIB = 1024, 1024 * 1024
_PAIRS = ((4, 4), (4 * KIB, 4 * KIB), (64 * KIB, 64 * KIB), (512 * KIB, 64), (64, 512 * KIB), (MIB, MIB), (2 * MIB, 64))
_EDGES = ((64, 3 * MIB),)
_SEVERAL, _SEVERAL_BYTES = 3, 64 * KIB  # tensors of one reply, and bytes of each
_REPEATS, _REPEATS_SMALL = 4, 10  # the first of them is dropped: its words are not known to both ends yet
FULL = "float32"
# A relay comes after a product that is no part of it: of one row where messages are as small as a decode step's.
_SMALL, _ROWS = 16 * KIB, 64
_STEP = (128, 768)  # of the client's between two calls


@dataclass
class MicroSweeps:
    """All measurements so far; `fit` makes the model of them. `splits`: one of every variant."""

    config: ModelConfig
    splits: Sequence[SplitModel]
    prompt: int
    _calls: dict[tuple[Transport, int, int], list[float]] = field(default_factory=dict)
    _several: dict[Transport, list[tuple[float, float]]] = field(default_factory=dict)
    _casts: dict[tuple[str, int], list[tuple[float, float]]] = field(default_factory=dict)
    _points: dict[tuple[tuple[str, float], ...], list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._transports: Mapping[Transport, RpcClient] = {
            transport_of(split.variant): split.client for split in self.splits
        }
        self._variants = [split.variant for split in self.splits]
        # Single calls go by the channel that adds least to them.
        self._client = min((split.client for split in self.splits), key=lambda one: one.channel.kind != "shm")
        self._programs = micro_calls.programs(self.config, self._variants, self.prompt)
        self._own = OwnSteps(self.config, self.splits, self.prompt)

    @torch.inference_mode()
    def sweep(self) -> None:
        """Measure everything once more."""
        for transport in self._transports:
            if transport[0] == BY_HANDLE:
                self._calls.setdefault((transport, 0, 0), []).append(self._by_handle())
                continue
            for sent, received in (*_PAIRS, *_EDGES):
                seconds = self._relay(transport, sent, received)
                self._calls.setdefault((transport, sent, received), []).append(seconds)
            one = self._relay(transport, 64, _SEVERAL * _SEVERAL_BYTES)
            several = self._relay(transport, 64, _SEVERAL_BYTES, count=_SEVERAL)
            self._several.setdefault(transport, []).append((one, several))
        singles = [
            point
            for program in self._programs
            for point in micro_calls.measure(self._client, self.config, program, self.prompt + 2)
        ]
        self._converted()
        guarded = micro_guards.points(self.config, self.splits, self.prompt)
        for features, seconds in (*singles, *self._own.points(), *guarded):
            self._points.setdefault(tuple(sorted(features.items())), []).append(seconds)

    def fit(self) -> TimeModel:
        """The time model of the means over sweeps."""
        transports: dict[Transport, list[SizePoint]] = {}
        for (transport, sent, received), seconds in self._calls.items():
            transports.setdefault(transport, []).append(SizePoint(sent, received, (fmean(seconds),)))
        points = [Point(dict(features), fmean(seconds)) for features, seconds in self._points.items()]
        for transport, pairs in self._several.items():
            more_s = max(1e-9, fmean(several - one for one, several in pairs))
            points.append(Point({more_tensors(transport): _SEVERAL - 1.0}, more_s))
        for (wire, elements), pairs in self._casts.items():
            more_s = max(1e-9, fmean(converted - plain for plain, converted in pairs))
            points.append(Point({f"{wire} casts": 2.0, wire: 2.0 * elements}, more_s))
        return fit(transports, points, apart=self._client.health()["device"] != "cpu")

    # -- one call each

    def _relay(self, transport: Transport, sent: int, received: int, *, count: int = 1, wire: str = FULL) -> float:
        """Seconds of a call outside the server's arithmetic: the mean of some."""
        kind, loans = transport
        client = self._transports[transport]
        client.start(1, loans=loans)
        size = torch_dtype(wire).itemsize
        rows = 1 if max(sent, received) <= _SMALL else _ROWS
        relay = Operation(protocol.RELAY, rows=rows, elements=max(1, received // size), count=count)
        timeline = Timeline()
        steps = _between(relay, max(1, sent // size), wire, client if loans else None, timeline)
        return self._outside(client, steps, relay.method, timeline, kind)

    def _by_handle(self) -> float:
        """The same of a call whose tensors are handed over in place."""
        split = next(split for split in self.splits if split.variant.by_handle)
        arena, client = split.trusted.arena, split.client
        assert arena is not None
        client.start(1, loans=False)
        relay, timeline, shape = Operation(protocol.RELAY, rows=1, elements=1), Timeline(), ((1,),)
        call = Call(relay, (), (), protocol.shapes_words(shape, shape), arena.reply(shape))
        steps = _in_turn(call, arena, timeline)
        return self._outside(client, steps, call.method, timeline, client.channel.kind)

    def _outside(self, client: RpcClient, steps: Steps, method: str, timeline: Timeline, kind: str) -> float:
        """The mean seconds of the calls of that method outside the server's arithmetic."""
        drive(client, [steps], timeline)
        seconds = []
        for exchange, row in zip(timeline.exchanges, stamps_of(client.ledger()), strict=True):
            if exchange.method == method:
                stretches = call_stretches(exchange, row, shared_memory=kind == "shm").stretches
                seconds.append(sum(s.end_ns - s.start_ns for s in stretches if s.name != COMPUTE) / 1e9)
        return fmean(seconds[1:])

    def _converted(self) -> None:
        """Calls of the same bytes with and without conversions: each element that travels in half is converted once."""
        for split in {split.variant.wire: split for split in self.splits if split.variant.wire != FULL}.values():
            wire, transport = split.variant.wire, transport_of(split.variant)
            for rows in (self.prompt, 1):
                elements = rows * self.config.intermediate
                size = elements * torch_dtype(wire).itemsize
                plain, converted = self._relay(transport, size, size), self._relay(transport, size, size, wire=wire)
                self._casts.setdefault((wire, elements), []).append((plain, converted))


def _between(relay: Operation, elements: int, wire: str, lender: RpcClient | None, timeline: Timeline) -> Steps:
    """Relays, each after a step of the client's, with a tensor that was just computed, in lent memory if any is."""
    stream, weight = torch.rand(_STEP), torch.ones(_STEP[-1])
    for _ in range(_REPEATS if relay.rows > 1 else _REPEATS_SMALL):
        arithmetic.rms_norm(stream, weight, 1e-5, stream)
        own = torch.empty(0 if lender else elements, dtype=torch_dtype(wire))
        array = lender.channel.loan((elements,), resolve(wire)) if lender else from_torch(own)
        to_torch(array).zero_()
        timeline.mark("fill")
        yield Call(relay, (array,), (Expected((relay.elements,), wire),) * relay.count)
    return torch.empty(0)


def _in_turn(call: Call, arena: DeviceArena, timeline: Timeline) -> Steps:
    """Calls without tensors, each after a step of the client's on the device."""
    stream, weight = torch.rand(_STEP, device=arena.device), torch.ones(_STEP[-1], device=arena.device)
    for _ in range(_REPEATS_SMALL):
        arithmetic.rms_norm(stream, weight, 1e-5, stream)
        arena.wait()
        timeline.mark("device")
        yield call
    return torch.empty(0)
