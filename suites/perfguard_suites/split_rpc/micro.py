"""Micro-measurements for the time model: calls that compute nothing, single products, single steps of the client.

Each is measured once per sweep; a field of variants sweeps between its rounds, so that the machine's drift is in both.
Means, not medians: what a busy machine adds to short measurements now and then, a long pass pays for on the average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from time import perf_counter

import torch
from torch import Tensor

from perfguard_suites.split_rpc import arithmetic, protect, protocol
from perfguard_suites.split_rpc.account import COMPUTE, call_stretches, stamps_of
from perfguard_suites.split_rpc.calls import Call, Steps
from perfguard_suites.split_rpc.client import Expected, RpcClient
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.protocol import Operation
from perfguard_suites.split_rpc.replies import torch_dtype
from perfguard_suites.split_rpc.runner import drive
from perfguard_suites.split_rpc.time_model import Point, TimeModel, Transport, compute_features, fit
from perfguard_suites.split_rpc.timeline import Timeline
from perfguard_suites.split_rpc.variants import Variant
from perfguard_suites.split_rpc.weights import MODULES, Weights, module_weight, tensor_shapes
from perfguard_suites.transport.dtypes import from_torch, to_torch
from perfguard_suites.transport.latency_model import SizePoint
from perfguard_suites.transport.mix import CallShape, TensorShape

KIB, MIB = 1024, 1024 * 1024
_PAIRS = ((4, 4), (4 * KIB, 4 * KIB), (64 * KIB, 64 * KIB), (512 * KIB, 64), (64, 512 * KIB), (MIB, MIB), (2 * MIB, 64))
_EDGES = ((64, 3 * MIB),)
_REPEATS = 3


@dataclass
class MicroSweeps:
    """All measurements so far; `fit` makes the model of them."""

    config: ModelConfig
    clients: Mapping[str, RpcClient]
    variants: Sequence[Variant]
    prompt: int
    weights: Weights | None = None
    _calls: dict[tuple[Transport, int, int], list[float]] = field(default_factory=dict)
    _points: dict[tuple[tuple[str, float], ...], list[float]] = field(default_factory=dict)

    @torch.inference_mode()
    def sweep(self) -> None:
        """Measure everything once more."""
        for transport in dict.fromkeys((variant.channel, variant.loans) for variant in self.variants):
            for sent, received in (*_PAIRS, *_EDGES):
                seconds = self._relay(transport, sent, received)
                self._calls.setdefault((transport, sent, received), []).append(seconds)
        for features, seconds in (*self._products(), *self._own_steps(), *self._casts(), *self._protection()):
            self._points.setdefault(tuple(sorted(features.items())), []).append(seconds)

    def fit(self) -> TimeModel:
        """The time model of the means over sweeps."""
        transports: dict[Transport, list[SizePoint]] = {}
        for (transport, sent, received), seconds in self._calls.items():
            transports.setdefault(transport, []).append(SizePoint(sent, received, (fmean(seconds),)))
        points = [Point(dict(features), fmean(seconds)) for features, seconds in self._points.items()]
        return fit(transports, points)

    # -- one call each

    def _relay(self, transport: Transport, sent: int, received: int) -> float:
        """Seconds of a call outside the server's arithmetic, between products as in a pass: the mean of some."""
        kind, loans = transport
        client = self.clients[kind]
        client.start(1, loans=loans)
        relay = Operation(protocol.RELAY, elements=max(1, received // 4))
        timeline = Timeline()
        steps = _between(client, self._product(), relay, max(1, sent // 4), loans, timeline)
        drive(client, [steps], timeline)
        seconds = []
        for exchange, row in zip(timeline.exchanges, stamps_of(client.ledger()), strict=True):
            if exchange.method == relay.method:
                stretches = call_stretches(exchange, row, shared_memory=kind == "shm").stretches
                seconds.append(sum(s.end_ns - s.start_ns for s in stretches if s.name != COMPUTE) / 1e9)
        return fmean(seconds)

    def _product(self) -> Call:
        """A product that keeps the server busy for a while, as a pass does between any two calls."""
        config = self.config
        inputs = (from_torch(torch.ones(self.prompt, config.hidden)),)
        expected = (Expected((self.prompt, config.query_width), "float32"),)
        return Call(Operation(protocol.BATCH_LINEAR, 0, ("q_proj",)), inputs, expected)

    def _seconds(self, step: Callable[[], object]) -> float:
        """A step of the client's, after waiting for the server as in a pass: threads asleep, caches cold."""
        client, taken, product = self.clients[self.variants[-1].channel], [], self._product()
        for _ in range(_REPEATS):
            client.submit(product.operation.method, product.tensors, product.expected)
            client.collect()
            begin_s = perf_counter()
            step()
            taken.append(perf_counter() - begin_s)
        client.ledger()
        return fmean(taken)

    def _timed(self, name: str, elements: int, step: Callable[[], Tensor]) -> Point:
        return Point({f"{name} steps": 1.0, name: float(elements)}, self._seconds(step))

    def _products(self) -> Iterator[Point]:
        """Single products on the server, of the prompt's rows and of one."""
        config, client = self.config, self.clients[self.variants[-1].channel]
        shapes = tensor_shapes(config)
        for tokens in (self.prompt, max(2, self.prompt // 2), 1):
            client.start(self.prompt, loans=True)
            for index, module in enumerate(MODULES):
                layer = index % config.layers
                outputs, inputs = shapes[module_weight(layer, module)]
                operation = Operation(protocol.BATCH_LINEAR, layer, (module,))
                x, y = TensorShape((tokens, inputs), "float32"), TensorShape((tokens, outputs), "float32")
                other = Operation(protocol.BATCH_LINEAR, (layer + 1) % config.layers, (module,))
                yield self._computed(client, operation, CallShape("batch_linear", layer, (x,), (y,)), other)
            heads, width, keys = config.heads, config.head_dim, self.prompt
            query = TensorShape((heads, tokens, width), "float32")
            kept = TensorShape((config.kv_heads, keys, width), "float32")
            scores = TensorShape((heads, tokens, keys), "float32")
            yield self._computed(
                client, Operation(protocol.MATMUL_SCORES), CallShape("matmul_scores", 0, (query, kept), (scores,))
            )
            yield self._computed(
                client, Operation(protocol.MATMUL_VALUES), CallShape("matmul_values", 0, (scores, kept), (query,))
            )
        head = CallShape(
            "lm_head",
            -1,
            (TensorShape((1, config.hidden), "float32"),),
            (TensorShape((1, config.vocabulary), "float32"),),
        )
        yield self._computed(client, Operation(protocol.LM_HEAD), head)

    def _computed(
        self, client: RpcClient, operation: Operation, call: CallShape, before: Operation | None = None
    ) -> Point:
        """The server's seconds of `operation`, after `before`: threads awake, but the weights not in a cache."""
        expected = tuple(Expected(reply.shape, "float32") for reply in call.reply)
        inputs = tuple(from_torch(torch.rand(each.shape)) for each in call.request)
        timeline = Timeline()
        drive(client, [_calls([Call(each, inputs, expected) for each in (before or operation, operation)])], timeline)
        rows = stamps_of(client.ledger())
        stretches = call_stretches(timeline.exchanges[-1], rows[-1], shared_memory=False).stretches
        seconds = sum(s.end_ns - s.start_ns for s in stretches if s.name == COMPUTE) / 1e9
        return Point(compute_features(self.config, call), seconds)

    # -- the client's own

    def _own_steps(self) -> Iterator[Point]:
        config = self.config
        for tokens in (self.prompt, max(2, self.prompt // 4), 1):
            hidden, weight = torch.rand(tokens, config.hidden), torch.rand(config.hidden)
            out = torch.empty_like(hidden)
            yield self._timed("norm", hidden.numel(), partial(arithmetic.rms_norm, hidden, weight, 1e-5, out))
            yield self._timed("residual", hidden.numel(), partial(hidden.add_, out))
            wide = torch.rand(tokens, config.intermediate)
            yield self._timed(
                "silu", wide.numel(), partial(arithmetic.silu_product, wide, wide, torch.empty_like(wide))
            )
            mask = arithmetic.causal_mask(tokens, self.prompt - tokens) if tokens > 1 else None
            scores = torch.rand(config.heads, tokens, self.prompt)
            spare = torch.empty_like(scores)
            yield self._timed("softmax", scores.numel(), partial(arithmetic.masked_softmax, scores, mask, spare))
            yield self._timed("copy", scores.numel(), partial(spare.copy_, scores))
            yield from self._turning(tokens)

    def _turning(self, tokens: int) -> Iterator[Point]:
        config = self.config
        heads = arithmetic.by_head(torch.rand(tokens, config.query_width), config.heads)
        tables = arithmetic.rotary_tables(config, tokens)
        out = torch.empty(heads.shape)
        yield self._timed("rotary", heads.numel(), lambda: arithmetic.rotate(heads, *tables, out))
        kept = torch.rand(config.kv_heads, self.prompt, config.head_dim)
        scores = config.heads * tokens * self.prompt
        yield self._timed("attention", scores, lambda: arithmetic.attention(out, kept, kept, self.prompt - tokens))
        seconds = self._seconds(lambda: out.copy_(heads))
        yield Point({"moved": float(heads.numel())}, seconds)

    def _casts(self) -> Iterator[Point]:
        for wire in dict.fromkeys(variant.wire for variant in self.variants if variant.wire != "float32"):
            for rows in (self.prompt, 1):
                wide = torch.rand(rows, self.config.intermediate)
                narrow = wide.to(torch_dtype(wire))
                seconds = self._seconds(partial(narrow.copy_, wide)) + self._seconds(partial(wide.copy_, narrow))
                yield Point({f"{wire} casts": 2.0, wire: 2.0 * wide.numel()}, seconds)

    def _protection(self) -> Iterator[Point]:
        """Hiding, checking, revealing and the server's product of one module."""
        protections = {variant.protection for variant in self.variants} - {"none"}
        if not protections or self.weights is None:
            return
        name = module_weight(0, "up_proj")
        weight = self.weights[name]
        if "verified" in protections:
            check = protect.float_check(name, [weight])
            for rows in (self.prompt, 1):
                x = torch.rand(rows, weight.shape[1])
                y = x @ weight.t()
                seconds = self._seconds(partial(protect.verify_float, check, x, [y]))
                yield Point({"float check calls": 1.0, "float check": float(x.numel() + y.numel())}, seconds)
        if protections & {"masked", "masked_verified"}:
            yield from self._masked(protect.LinearGroup(name, (protect.quantise_weight(name, weight),)))

    def _masked(self, group: protect.LinearGroup) -> Iterator[Point]:
        check = protect.field_check(group)
        resident = protect.resident(group.weights[0].values)
        inputs, outputs = group.inputs, group.outputs[0]
        for rows in (self.prompt, 1):
            store = protect.MaskStore()
            store.prepare(group, rows)
            mask = store.take(group.name, rows)
            x = torch.rand(rows, inputs)
            begin_s = perf_counter()
            quantised = protect.quantise_rows(group.name, x, group.activation_levels)
            message = mask.hide(quantised.values)
            hidden_s = perf_counter()
            reply = protect.multiply(message, resident)
            multiplied_s = perf_counter()
            protect.verify_field(check, message, [reply])
            checked_s = perf_counter()
            (product,) = mask.reveal([reply])
            protect.dequantise(product, quantised.scale, group.weights[0].scale)
            revealed_s = perf_counter()
            call = CallShape(
                "masked_linear", 0, (TensorShape((rows, inputs), "int32"),), (TensorShape((rows, outputs), "int32"),)
            )
            yield Point({"hide calls": 1.0, "hide": float(rows * inputs)}, hidden_s - begin_s)
            yield Point(compute_features(self.config, call), multiplied_s - hidden_s)
            yield Point(
                {"field check calls": 1.0, "field check": float(rows * (inputs + outputs))}, checked_s - multiplied_s
            )
            yield Point({"reveal": float(rows * outputs)}, revealed_s - checked_s)


def _between(
    client: RpcClient, product: Call, relay: Operation, elements: int, loans: bool, timeline: Timeline
) -> Steps:
    """Relays, each after a product, with a tensor that was just computed."""
    for _ in range(_REPEATS):
        yield product
        array = client.channel.loan((elements,), "float32") if loans else from_torch(torch.empty(elements))
        to_torch(array).zero_()
        timeline.mark("fill")
        yield Call(relay, (array,), (Expected((relay.elements,), "float32"),))
    return torch.empty(0)


def _calls(calls: Sequence[Call]) -> Steps:
    """Calls one after another, results dropped."""
    for call in calls:  # noqa: UP028 - results are sent in: a list's iterator takes none
        yield call
    return torch.empty(0)
