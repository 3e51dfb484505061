"""Drives passes of the trusted model over the channel: one call at a time, or several chunks' calls in flight."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perfguard_suites.split_rpc import cuda_ipc, device_memory
from perfguard_suites.split_rpc.calls import Results, Steps
from perfguard_suites.split_rpc.client import RpcClient
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.errors import ConfigurationError
from perfguard_suites.split_rpc.guards import Guard
from perfguard_suites.split_rpc.threads import own_threads, torch_threads
from perfguard_suites.split_rpc.timeline import Exchange, Timeline
from perfguard_suites.split_rpc.traffic import Traffic, chunk_sizes
from perfguard_suites.split_rpc.trusted import TrustedModel
from perfguard_suites.split_rpc.variants import Variant
from perfguard_suites.split_rpc.weights import Weights
from perfguard_suites.transport.dtypes import to_torch


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the model: its logits, what crossed, and what the client did when."""

    logits: Tensor
    traffic: Traffic
    timeline: Timeline

    @property
    def wall_s(self) -> float:
        """Seconds from the first token id to the logits."""
        return (self.timeline.end_ns - self.timeline.begin_ns) / 1e9


class SplitModel:
    """A model split between this process and the server at the other end of `client`.

    `weights`: this process's share (`trusted_names`). `positions`: the longest request. `guard`: of the variant's
    protection (`guards.guard_for`). Raises `ConfigurationError` where there is a guard and no protection, or none where
    there is.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        variant: Variant,
        client: RpcClient,
        positions: int,
        guard: Guard | None = None,
    ) -> None:
        if (guard is None) != (variant.protection == "none"):
            raise ConfigurationError(f"variant {variant.name!r:.60}", "its protection and its guard do not match")
        self.variant = variant
        self.client = client
        self.guard = guard
        self.past = 0
        arena = None
        if variant.by_handle:
            if not cuda_ipc.available():
                raise ConfigurationError(f"variant {variant.name!r:.60}", "needs a CUDA device in both processes")
            room = device_memory.room_for(config, variant, positions)
            arena = device_memory.attach(client.share(*room), room)
        self.trusted = TrustedModel(config, weights, variant, client.channel, positions, guard, arena)

    def start(self, fault: str = "none", fault_at: int = 1) -> None:
        """Begin a new request: both sides forget all positions. `fault`: see `RpcClient.start`."""
        self.client.start(
            self.trusted.positions,
            loans=self.variant.loans,
            threads=self.own_threads,
            masked="masked" in self.variant.protection,
            fault=fault,
            fault_at=fault_at,
        )
        self.past = 0

    @property
    def own_threads(self) -> int:
        """Threads for this process's part of a pass: all where it makes products itself."""
        available = torch.get_num_threads()
        if self.guard is not None or self.variant.fusion == "linear_only":
            return available
        return own_threads(self.trusted.positions * self.trusted.config.intermediate, available)

    def forward(self, ids: Tensor) -> Pass:
        """The pass over these token ids (int64, (tokens,)) at the next positions.

        Raises what the client raises; the request is lost then: start another.
        """
        with torch_threads(self.own_threads):
            return self._forward(ids)

    @torch.inference_mode()
    def _forward(self, ids: Tensor) -> Pass:
        channel, calls = self.client.channel, self.client.calls
        sent, received = channel.payload_bytes()
        self.trusted.timeline = timeline = Timeline()
        sizes = chunk_sizes(len(ids), self.variant.chunks)
        parts: list[Steps] = []
        at = 0
        for index, size in enumerate(sizes):
            head = index == len(sizes) - 1 or self.variant.head_rows == "all"
            parts.append(self.trusted.steps(ids[at : at + size], self.past + at, head=head))
            at += size
        logits = drive(self.client, parts, timeline)
        timeline.finish()
        self.past += len(ids)
        now_sent, now_received = channel.payload_bytes()
        traffic = Traffic(self.client.calls - calls, now_sent - sent, now_received - received)
        return Pass(torch.cat([part for part in logits if part.numel()]), traffic, timeline)

    def close(self) -> None:
        """Let go of shared device memory, before the server that owns it goes; idempotent."""
        if self.trusted.arena is not None:
            self.trusted.arena = None
            gc.collect()  # views of it
            cuda_ipc.collect()

    def ledger(self) -> npt.NDArray[np.int64]:
        """The server's stamps of the operations since the last time."""
        return self.client.ledger()


def drive(client: RpcClient, parts: Sequence[Steps], timeline: Timeline) -> list[Tensor]:
    """Run the chunks to their ends, each with one call in flight, in turn.

    The server answers in order and each chunk goes on in that order, so that an earlier chunk is never behind a later
    one: its keys and values are there before the later one asks.
    """
    done: list[Tensor] = [torch.empty(0)] * len(parts)
    waiting: deque[tuple[int, int, Results | None]] = deque()

    def advance(index: int, results: list[tuple[Tensor, ...]]) -> None:
        try:
            call = parts[index].send(results.pop()) if results else next(parts[index])
        except StopIteration as stop:
            done[index] = stop.value
            return
        built_ns = timeline.last_ns
        pending = client.submit(call.method, call.tensors, call.expected)
        timeline.last_ns = pending.sent_ns
        waiting.append((index, built_ns, call.placed))

    for index in range(len(parts)):
        advance(index, [])
    while waiting:
        index, built_ns, placed = waiting.popleft()
        waited_ns = timeline.last_ns
        pending, tensors, request, reply = client.collect()
        results = [tuple([to_torch(tensor) for tensor in tensors]) if placed is None else placed]
        del placed
        del tensors  # a received tensor holds the server's memory: nobody keeps one longer than he needs it
        timeline.last_ns = resumed_ns = perf_counter_ns()
        timeline.exchanges.append(
            Exchange(
                pending.request_id, pending.method, built_ns, pending.sent_ns, waited_ns, resumed_ns, request, reply
            )
        )
        advance(index, results)
    return done
