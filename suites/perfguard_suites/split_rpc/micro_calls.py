"""Single calls of every operation that a field's variants make: what the server computes in each, alone. No fitting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from perfguard_suites.split_rpc import protocol
from perfguard_suites.split_rpc.client import Expected, RpcClient
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.protocol import Operation
from perfguard_suites.split_rpc.replies import torch_dtype
from perfguard_suites.split_rpc.scores import score_shape
from perfguard_suites.split_rpc.time_model import Point, compute_features
from perfguard_suites.split_rpc.variants import Variant
from perfguard_suites.split_rpc.weights import module_weight, tensor_shapes
from perfguard_suites.transport.dtypes import from_torch
from perfguard_suites.transport.mix import CallShape, TensorShape

# So many layers' weights are more than a cache holds; more would only take longer.
MOST_LAYERS = 4
Program = tuple["Single", ...]


class Single(NamedTuple):
    """One call and the shapes of its tensors."""

    operation: Operation
    shape: CallShape


def programs(config: ModelConfig, variants: Sequence[Variant], prompt: int) -> list[Program]:
    """Calls in an order that the server takes from a fresh start each: of the prompt's rows, of half, of one."""
    fusions = {variant.fusion for variant in variants}
    half = max(1, prompt // 2)
    later = [(half, 0, 1), (half, half, 1)]
    # A row that sees the prompt needs the prompt's keys and values in its own layer.
    filled, free = [(prompt, 0, MOST_LAYERS), (1, prompt, MOST_LAYERS)], [(prompt, 0, 1), (1, prompt, MOST_LAYERS)]
    makers: list[tuple[Callable[[int, int, int], Iterator[Single]], list[tuple[int, int, int]]]] = []
    maker = _Maker(config, variants)
    if fusions - {"whole_layer"}:
        makers.append((maker.linear, free))
    if any("masked" in variant.protection for variant in variants):
        makers.append((maker.masked, free))
    if fusions & {"qkv_scores", "trusted_minimal"}:
        makers.append((maker.fused, filled))
    if "whole_layer" in fusions:
        makers.append((maker.whole, filled))
    return [
        tuple(single for tokens, past, layers in stage for layer in range(min(layers, config.layers))
              for single in make(tokens, past, layer))
        for make, first in makers
        for stage in (first, later)
    ]  # fmt: skip


def measure(client: RpcClient, config: ModelConfig, program: Program, positions: int) -> list[Point]:
    """The server's seconds for each call of a program. Raises what the client raises."""
    masked = any(single.operation.name.startswith("masked") for single in program)
    client.start(positions, loans=True, masked=masked)
    for operation, shape in program:
        # Making the inputs takes about what the client's own steps take, so that the server waits as in a pass.
        inputs = [from_torch(_values(tensor, config)) for tensor in shape.request]
        client.submit(operation.method, inputs, tuple(Expected(each.shape, each.dtype) for each in shape.reply))
        client.collect()
    rows = client.ledger()
    taken, computed = (rows[:, protocol.LEDGER_COLUMNS.index(name)] for name in ("taken_ns", "computed_ns"))
    seconds = (computed - taken) / 1e9
    return [
        Point(compute_features(config, single.shape), float(each))
        for single, each in zip(program, seconds, strict=True)
    ]


def _values(tensor: TensorShape, config: ModelConfig) -> torch.Tensor:
    if tensor.dtype == "int64":
        return torch.arange(tensor.shape[0]) * 7 % config.vocabulary
    if tensor.dtype == "int32":
        return torch.randint(-1000, 1000, tensor.shape, dtype=torch.int32)
    return torch.rand(tensor.shape).to(torch_dtype(tensor.dtype))


class _Maker:
    """The calls of one layer at `tokens` positions after `past`."""

    def __init__(self, config: ModelConfig, variants: Sequence[Variant]) -> None:
        self._config = config
        self._fusions = {variant.fusion for variant in variants}
        per_op = [variant for variant in variants if variant.fusion == "per_op"]
        self._kept = sorted({config.heads if variant.repeat_first else config.kv_heads for variant in per_op})
        self._rows = sorted({variant.rows for variant in per_op})
        fused = [variant for variant in variants if variant.fusion in {"qkv_scores", "trusted_minimal"}]
        self._fused_rows = min((variant.rows for variant in fused), default=0)

    def linear(self, tokens: int, past: int, layer: int) -> Iterator[Single]:
        """Every linear module by its group, the head, the embedding; scores and values of `per_op`."""
        config = self._config
        for modules in protocol.GROUPS:
            yield self._group(protocol.BATCH_LINEAR, layer, modules, tokens, "float32")
        if not layer:
            request = (TensorShape((1, config.hidden), "float32"),)
            reply = (TensorShape((1, config.vocabulary), "float32"),)
            yield Single(Operation(protocol.LM_HEAD), CallShape("lm_head", -1, request, reply))
            found = (TensorShape((tokens, config.hidden), "float32"),)
            asked = (TensorShape((tokens,), "int64"),)
            operation = Operation(protocol.EMBEDDING, dtype="float32")
            yield Single(operation, CallShape("embedding", -1, asked, found))
        for heads in self._kept:
            for rows in self._rows:
                query = TensorShape((config.heads, tokens, config.head_dim), "float32")
                kept = TensorShape((heads, past + tokens, config.head_dim), "float32")
                scores = TensorShape(score_shape(config.heads, tokens, past, rows), "float32")
                operation = Operation(protocol.MATMUL_SCORES, rows=rows)
                yield Single(operation, CallShape("matmul_scores", layer, (query, kept), (scores,)))
                operation = Operation(protocol.MATMUL_VALUES, rows=rows)
                yield Single(operation, CallShape("matmul_values", layer, (scores, kept), (query,)))

    def masked(self, tokens: int, past: int, layer: int) -> Iterator[Single]:  # noqa: ARG002 - as the others
        """The same linear modules on field elements."""
        for modules in protocol.GROUPS:
            yield self._group(protocol.MASKED_LINEAR, layer, modules, tokens, "int32")
        if not layer:
            request = (TensorShape((1, self._config.hidden), "int32"),)
            reply = (TensorShape((1, self._config.vocabulary), "int32"),)
            yield Single(Operation(protocol.MASKED_HEAD), CallShape("masked_head", -1, request, reply))

    def fused(self, tokens: int, past: int, layer: int) -> Iterator[Single]:
        """Projections, rotation and scores in one; values and output projection in one."""
        config, rows = self._config, self._fused_rows
        hidden = TensorShape((tokens, config.hidden), "float32")
        scores = TensorShape(score_shape(config.heads, tokens, past, rows), "float32")
        operation = Operation(protocol.QKV_SCORES, layer, rows=rows, resident=True)
        yield Single(operation, CallShape("qkv_scores", layer, (hidden,), (scores,)))
        operation = Operation(protocol.VALUES_OUTPUT, layer, rows=rows, keys=past + tokens)
        yield Single(operation, CallShape("values_output", layer, (scores,), (hidden,)))

    def whole(self, tokens: int, past: int, layer: int) -> Iterator[Single]:  # noqa: ARG002 - as the others
        """A layer."""
        hidden = TensorShape((tokens, self._config.hidden), "float32")
        yield Single(Operation(protocol.WHOLE_LAYER, layer), CallShape("whole_layer", layer, (hidden,), (hidden,)))

    def _group(self, name: str, layer: int, modules: tuple[str, ...], tokens: int, dtype: str) -> Single:
        shapes = [tensor_shapes(self._config)[module_weight(layer, module)] for module in modules]
        request = (TensorShape((tokens, shapes[0][1]), dtype),)
        reply = tuple(TensorShape((tokens, outputs), dtype) for outputs, _ in shapes)
        return Single(Operation(name, layer, modules), CallShape(name, layer, request, reply))
