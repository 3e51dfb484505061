"""How long a request should take: what each call costs and each element, fitted from micro-measurements. Pure.

    time = sum over calls of (transport(sent, received) + compute(operations, multiplications, bytes) + conversions)
         + sum over the client's own steps of (fixed + elements x rate)

Nothing of it is fitted to the passes that it predicts: transport is measured on calls that compute nothing, compute on
single calls of each method, own steps and conversions alone. It assumes that calls and steps follow one another, since
both processes' threads want all processors, and that a step costs the same alone as in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from statistics import fmean
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.guards import HIDE, UNMASK, VERIFY
from perfguard_suites.split_rpc.scores import row_blocks
from perfguard_suites.split_rpc.traffic import chunk_sizes, predict
from perfguard_suites.split_rpc.variants import Variant
from perfguard_suites.transport.latency_model import LatencyModel, SizePoint
from perfguard_suites.transport.latency_model import fit as fit_transport
from perfguard_suites.transport.mix import CallShape, TensorShape

Features = Mapping[str, float]
# What a request's time is made of.
PARTS = ("the client's own steps", "the server's products", "transport, conversions and protection")
_FEW_ROWS = 8
# What a server that runs whole layers does besides its products: the steps that are the client's elsewhere.
_WHOLE_LAYER_INSIDE = Variant("inside", "linear_only", "shm", loans=True)
Transport = tuple[str, bool]  # kind of channel, loans
BY_HANDLE = "by handle"  # no kind: messages without tensors


class Point(NamedTuple):
    """A micro-measurement: amounts by name, and the seconds they took together."""

    features: Features
    seconds: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds per unit of each feature, never negative."""

    per_unit: Mapping[str, float]

    def seconds(self, features: Features) -> float:
        """What these amounts take; a feature that was never measured costs nothing."""
        return sum(self.per_unit.get(name, 0.0) * amount for name, amount in features.items())


def fit_costs(points: Sequence[Point]) -> Costs:
    """Non-negative least squares on relative residuals. Raises ValueError without points."""
    if not points:
        raise ValueError("no measurements to fit")
    names = sorted({name for point in points for name in point.features})
    seconds = np.array([point.seconds for point in points])
    design = np.array([[point.features.get(name, 0.0) for name in names] for point in points])
    scale = np.maximum(design.max(axis=0), 1e-30)
    found, _residual = nnls(design / scale / seconds[:, None], np.ones(len(points)))
    return Costs({name: float(value) for name, value in zip(names, found / scale, strict=True)})


@dataclass(frozen=True, slots=True)
class TimeModel:
    """The fitted costs: of calls by transport, and of everything else by feature.

    `apart`: the server computes on processors of its own, a GPU, so that chunks in flight hide it.
    """

    transports: Mapping[Transport, LatencyModel]
    costs: Costs
    apart: bool = False

    def request_s(self, config: ModelConfig, variant: Variant, prompt: int, steps: int) -> float:
        """Seconds of a request: the prefill of a prompt and its decode steps."""
        return sum(self.parts_s(config, variant, prompt, steps).values())

    def parts_s(self, config: ModelConfig, variant: Variant, prompt: int, steps: int) -> dict[str, float]:
        """The same by part, see `PARTS`."""
        passes = [(prompt, 0), *((1, prompt + step) for step in range(steps))]
        rows = [self.pass_parts_s(config, variant, tokens, past) for tokens, past in passes]
        return {part: sum(row[part] for row in rows) for part in PARTS}

    def pass_parts_s(self, config: ModelConfig, variant: Variant, tokens: int, past: int) -> dict[str, float]:
        """Seconds of one pass over `tokens` positions after `past`, by part."""
        calls = predict(config, variant, tokens, past)
        own, compute, between = pass_features(config, variant, calls, tokens, past)
        costs = self.costs
        own_s, compute_s = costs.seconds(own), costs.seconds(compute)
        between_s = costs.seconds(between) + self.calls_s(variant, calls)
        if self.apart and len(chunk_sizes(tokens, variant.chunks)) > 1:
            compute_s = exposed_s(compute_s, own_s + between_s, len(calls))
        return dict(zip(PARTS, (own_s, compute_s, between_s), strict=True))

    def calls_s(self, variant: Variant, calls: Sequence[CallShape]) -> float:
        """What these calls' transport takes."""
        model = self.transports[transport_of(variant)]
        sent = [call.sent_bytes for call in calls]
        received = [call.received_bytes for call in calls]
        return float(model.predict_s(sent, received).sum())


def exposed_s(hidden_s: float, hiding_s: float, stages: int) -> float:
    """What is left to wait for of `hidden_s` beside `hiding_s` of other work, in so many stages of either in turn.

    Two resources in a pipeline take as long as the longer one and a stage of the shorter, which nothing hides.
    """
    return max(0.0, hidden_s - hiding_s) + min(hidden_s, hiding_s) / max(1, stages)


def fit(
    transports: Mapping[Transport, Sequence[SizePoint]], points: Sequence[Point], *, apart: bool = False
) -> TimeModel:
    """The model from micro-measurements of calls by transport and of everything else. `apart`: see `TimeModel`."""
    models = {
        key: fit_transport(sizes) if any(size.sent_bytes for size in sizes) else _of_empty(key[0], sizes)
        for key, sizes in transports.items()
    }
    return TimeModel(models, fit_costs(points), apart)


def _of_empty(name: str, sizes: Sequence[SizePoint]) -> LatencyModel:
    """Messages without tensors: one cost, whatever they hand over."""
    return LatencyModel(name, fmean(size.median_s for size in sizes), (1.0,), (0.0,), (0.0,), 0.0)


# -- what a pass consists of


def pass_features(
    config: ModelConfig, variant: Variant, calls: Sequence[CallShape], tokens: int, past: int
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Amounts of everything but transport: the client's steps, the server's products, conversions and protection."""
    own: dict[str, float] = {}
    compute: dict[str, float] = {}
    between: dict[str, float] = {}
    at = past
    for size in chunk_sizes(tokens, variant.chunks):
        _add(own, own_features(config, variant, size, at))
        at += size
    for call in calls:
        _add(compute, compute_features(config, call))
        more = len(call.request) + len(call.reply) - 2
        if more > 0:
            _add(between, {more_tensors(transport_of(variant)): float(more)})
        if variant.wire != "float32":
            _add(between, _conversions(call, variant.wire))
        if variant.protection != "none":
            sides = [float(sum(_elements(tensor) for tensor in side)) for side in (call.request, call.reply)]
            for features in protection_features(variant, *sides).values():
                _add(between, features)
    return own, compute, between


def transport_of(variant: Variant) -> Transport:
    """What calls of a variant travel by."""
    return (BY_HANDLE if variant.by_handle else variant.channel), variant.loans


def more_tensors(transport: Transport) -> str:
    """The feature that counts the tensors of a call beyond one each way."""
    kind, loans = transport
    return f"more tensors by {kind}{' lent' if loans else ''}"


def style_of(variant: Variant) -> str:
    """How a variant makes what it sends: in the channel's memory or its own, and in which type."""
    if variant.by_handle:
        return "on the device"
    lent = variant.loans and "masked" not in variant.protection
    return f"{'lent' if lent else 'own'} {variant.wire}"


def compute_features(config: ModelConfig, call: CallShape) -> dict[str, float]:
    """The server's arithmetic in one call: the call itself by its method, operations, bytes touched, elements moved.

    A product of few rows is bound by reading the matrix, one of many by arithmetic: each has its own rates. What a
    call takes beyond them, its many small steps, is in the cost of one call of its method.
    """
    matrices = _matrices(config, call)
    few = "few " if max([rows for _, rows, _, _ in matrices], default=0) <= _FEW_ROWS else ""
    found: dict[str, float] = {f"{few}{call.method} calls": 1.0, "moved": float(_moved(config, call))}
    masked = "masked " if call.method.startswith("masked") else ""
    for batch, rows, inner, columns in matrices:
        kind = f"{few}{masked}{'heads ' if batch > 1 else ''}"
        amounts = {f"{kind}flops": 2.0 * batch * rows * inner * columns}
        amounts[f"{kind}touched"] = float(batch * (rows * inner + inner * columns + rows * columns))
        _add(found, amounts)
    if call.method == "whole_layer":
        steps = _layer_steps(config, _WHOLE_LAYER_INSIDE, call.request[0].shape[0], 0)
        found["inside"] = float(sum(count * elements for _, count, elements in steps))
    return found


def _matrices(config: ModelConfig, call: CallShape) -> list[tuple[int, int, int, int]]:
    """The products of one call as (batch, rows, inner, columns)."""
    method, hidden, width = call.method, config.hidden, config.head_dim
    linear = [
        (1, reply.shape[0], call.request[0].shape[-1], reply.shape[-1])
        for reply in call.reply
        if method in {"batch_linear", "lm_head", "masked_linear", "masked_head"}
    ]
    if linear or method == "embedding":
        return linear
    first = call.request[0].shape
    if method == "matmul_scores":
        return [_heads(config, first[1], width, _elements(call.reply[0]))]
    if method in {"matmul_values", "resident_values"}:
        return [_heads(config, call.reply[0].shape[1], width, _elements(call.request[0]))]
    if method == "values_output":
        tokens = call.reply[0].shape[0]
        scores = _heads(config, tokens, width, _elements(call.request[0]))
        return [scores, (1, tokens, config.query_width, hidden)]
    tokens = first[0]
    projections = [(1, tokens, hidden, columns) for columns in (config.query_width, config.kv_width, config.kv_width)]
    if method == "qkv_scores":
        return [*projections, _heads(config, tokens, width, _elements(call.reply[0]))]
    wide = config.intermediate  # of a whole layer, whose attention is among its steps
    feed_forward = [(1, tokens, hidden, wide)] * 2 + [(1, tokens, wide, hidden)]
    return [*projections, (1, tokens, config.query_width, hidden), *feed_forward]


def _heads(config: ModelConfig, tokens: int, width: int, scores: int) -> tuple[int, int, int, int]:
    """Scores, or weighted values, of all heads: grouped heads share their keys, so the rows of a group are together."""
    keys = max(1, round(scores / (config.heads * tokens)))
    return config.kv_heads, config.groups * tokens, width, keys


def _moved(config: ModelConfig, call: CallShape) -> int:
    """Elements that the server only moves or turns: embeddings, rotation, the cache."""
    if call.method == "embedding":
        return _elements(call.reply[0])
    if call.method == "qkv_scores":
        return call.request[0].shape[0] * (config.query_width + 2 * config.kv_width)
    return 0


def own_features(config: ModelConfig, variant: Variant, tokens: int, past: int) -> dict[str, float]:
    """The client's own steps in the pass of one chunk: each with a count and its elements."""
    steps: dict[str, float] = {}
    style = style_of(variant)
    add_step(steps, f"{style} copy", tokens * config.hidden)  # the embedding, looked up or received
    if tokens > 1:
        add_step(steps, f"{style} copy", 2 * tokens * (past + tokens))  # the mask
    for name, count, elements in _layer_steps(config, variant, tokens, past):
        add_step(steps, f"{style} {name}", elements, count * config.layers)
    rows = tokens if variant.head_rows == "all" else 1
    add_step(steps, f"{style} norm", rows * config.hidden)
    add_step(steps, f"{style} copy", rows * config.vocabulary)
    return steps


def _layer_steps(config: ModelConfig, variant: Variant, tokens: int, past: int) -> Iterator[tuple[str, int, int]]:
    """(step, how many, elements of each) of one layer."""
    keys = past + tokens
    scores = config.heads * tokens * keys
    if variant.fusion == "whole_layer":
        yield "copy", 1, tokens * config.hidden
        return
    yield "norm", 2, tokens * config.hidden
    yield "residual", 2, tokens * config.hidden
    yield "silu", 1, tokens * config.intermediate
    if variant.fusion != "linear_only":
        if variant.rows:
            for block in row_blocks(tokens, past, variant.rows):
                yield "softmax", 1, config.heads * (block.end - block.start) * block.columns
        else:
            yield "softmax", 1, scores
    if variant.fusion in {"per_op", "linear_only"}:
        yield "keep", 1, 2 * tokens * config.kv_width
        yield "turn", 1, tokens * config.query_width
    if variant.fusion == "linear_only":
        yield "attention", 1, scores
    if variant.fusion in {"per_op", "qkv_scores"}:
        if variant.fusion == "qkv_scores":
            yield "copy", 1, tokens * config.kv_width
        heads = config.heads if variant.repeat_first else config.kv_heads
        yield f"repeat to {heads}", 2 if variant.fusion == "per_op" else 1, heads * keys * config.head_dim
        yield "join", 1, tokens * config.query_width


def add_step(steps: dict[str, float], name: str, elements: float, count: float = 1) -> None:
    """Count steps of that name, of so many elements each."""
    _add(steps, {f"{name} steps": float(count), name: float(count * elements)})


def _conversions(call: CallShape, wire: str) -> dict[str, float]:
    """Elements that the server converts from the wire's type or to it; the client's are part of its steps."""
    there = [_elements(tensor) for tensor in (*call.request, *call.reply) if tensor.dtype == wire]
    return {f"{wire} casts": float(len(there)), wire: float(sum(there))}


def protection_features(variant: Variant, sent: float, received: float) -> dict[str, dict[str, float]]:
    """What protecting one call with so many elements each way consists of, by the client's phase."""
    found: dict[str, dict[str, float]] = {}
    if "masked" in variant.protection:
        found[HIDE] = {"hide calls": 1.0, "hide": sent}
        found[UNMASK] = {"unmask calls": 1.0, "unmask": received}
    if "verified" in variant.protection:
        kind = "field check" if "masked" in variant.protection else "float check"
        found[VERIFY] = {f"{kind} calls": 1.0, kind: sent + received}
    return found


def _elements(tensor: TensorShape) -> int:
    return prod(tensor.shape)


def _add(total: dict[str, float], more: Features) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0.0) + amount
