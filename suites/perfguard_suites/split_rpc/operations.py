"""What the server computes: the operations of a pass on resident weights, on CUDA where there is one, else on the CPU.

Everything in a request is checked against the model before it is computed with; what does not fit is an error that
names it. Results are computed straight into the reply's memory where device and dtype allow it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from perfguard_suites.split_rpc import arithmetic, protect, protocol
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.errors import UnknownOperation
from perfguard_suites.split_rpc.model import KeyValueCache, LayerArithmetic
from perfguard_suites.split_rpc.protocol import Operation
from perfguard_suites.split_rpc.scores import score_shape, tokens_of
from perfguard_suites.split_rpc.weights import EMBEDDING, MODULES, Weights, head_weight, module_weight


class Place(Protocol):
    """Gives the memory for a result of that shape, in the device's compute dtype."""

    def __call__(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """An uninitialised tensor; what is written there is what is sent."""


class ServerModel:
    """The weights on their device, shared by all sessions, never written."""

    def __init__(self, config: ModelConfig, weights: Weights, device: str) -> None:
        self.config = config
        self.device = device
        self.weights = {name: tensor.to(device) for name, tensor in weights.items()}
        self.dtype = self.weights[EMBEDDING].dtype
        # One product for all three: fewer threads to wake and kernels to launch. Each weight is a part of its layer's.
        self.qkv = [self._joined(layer) for layer in range(config.layers)]
        self.transposed = {
            (layer, module): self.weights[module_weight(layer, module)].t()
            for layer in range(config.layers)
            for module in MODULES
        }
        self.masked: dict[str, Tensor] = {}
        self._masked_lock = threading.Lock()
        self.head_name = head_weight(config)
        self.head = self.weights[self.head_name]

    def _joined(self, layer: int) -> Tensor:
        """The projections of queries, keys and values of a layer side by side, (hidden, query_width + 2 kv_width)."""
        names = [module_weight(layer, module) for module in ("q_proj", "k_proj", "v_proj")]
        joined = torch.cat([self.weights[name] for name in names])
        at = 0
        for name in names:
            rows = self.weights[name].shape[0]
            self.weights[name] = joined[at : at + rows]
            at += rows
        return joined.t()

    def prepare_masked(self) -> None:
        """Quantise every linear weight, once: 8 bytes an element besides the weights themselves."""
        with self._masked_lock:
            if not self.masked:
                names = [name for names in protocol.linear_operations(self.config).values() for name in names]
                self.masked = {
                    name: protect.resident(protect.quantise_weight(name, self.weights[name]).values, self.device)
                    for name in dict.fromkeys(names)
                }

    def tables(self, positions: int) -> tuple[Tensor, Tensor]:
        """Rotary tables in the compute dtype."""
        cosines, sines = arithmetic.rotary_tables(self.config, positions)
        return cosines.to(self.device, self.dtype), sines.to(self.device, self.dtype)


class SessionOperations:
    """One client's operations: the shared model and this client's keys and values."""

    def __init__(self, model: ServerModel) -> None:
        self._model = model
        self._config = model.config
        self._room = self._limit = 0  # positions allocated, and those of this request
        self._past = [0] * model.config.layers
        self._relayed = 0
        self._table: Mapping[str, Callable[[Operation, Sequence[Tensor], Place], None]] = {
            protocol.RELAY: self._relay,
            protocol.EMBEDDING: self._embedding,
            protocol.LM_HEAD: self._lm_head,
            protocol.BATCH_LINEAR: self._batch_linear,
            protocol.MASKED_LINEAR: self._masked_linear,
            protocol.MASKED_HEAD: self._masked_head,
            protocol.MATMUL_SCORES: self._matmul_scores,
            protocol.MATMUL_VALUES: self._matmul_values,
            protocol.QKV_SCORES: self._qkv_scores,
            protocol.RESIDENT_VALUES: self._resident_values,
            protocol.VALUES_OUTPUT: self._values_output,
            protocol.WHOLE_LAYER: self._whole_layer,
        }

    def start(self, positions: int) -> None:
        """Forget this client's positions, and have room for that many. Raises `UnknownOperation` for a bad number."""
        if not 1 <= positions <= self._config.max_positions:
            raise UnknownOperation("start: positions", f"{positions} is not in 1 .. {self._config.max_positions}")
        if positions > self._room:
            model = self._model
            self._cache = KeyValueCache(self._config, positions, model.dtype, model.device)
            self._cosines, self._sines = model.tables(positions)
            self._layers = LayerArithmetic(self._config, model.weights, self._cosines, self._sines)
            self._room = positions
        self._limit = positions
        self._past = [0] * self._config.layers

    def compute(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        """Compute the results into places, in order. Raises `UnknownOperation` for what the model has not."""
        if operation.layer >= self._config.layers:
            raise UnknownOperation(
                f"layer {operation.layer}", "is unknown", f"this model has layers 0 to {self._config.layers - 1}"
            )
        handler = self._table.get(operation.name)
        if handler is None:
            raise UnknownOperation(f"operation {operation.name!r:.60}", "is not served here")
        handler(operation, tensors, place)

    # -- the operations

    def _relay(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:  # noqa: ARG002
        # After a product: what a call costs depends on whether its code and data are still in the caches.
        weight = self._model.transposed[self._relayed % self._config.layers, "up_proj"]
        self._relayed += 1
        torch.mm(weight.new_ones(operation.rows, weight.shape[0]), weight)
        for _ in range(operation.count):
            place(operation.elements).zero_()

    def _embedding(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        (ids,) = _expect(operation, tensors, (None,))
        config = self._config
        if ids.dtype != torch.int64 or (ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < config.vocabulary):
            raise UnknownOperation("embedding: token ids", f"are not int64 in 0 .. {config.vocabulary - 1}")
        torch.index_select(self._model.weights[EMBEDDING], 0, ids, out=place(ids.shape[0], config.hidden))

    def _lm_head(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        (x,) = _expect(operation, tensors, (None, self._config.hidden))
        torch.mm(x, self._model.head.t(), out=place(x.shape[0], self._config.vocabulary))

    def _batch_linear(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        weights, layer = self._model.transposed, operation.layer
        (x,) = _expect(operation, tensors, (None, None))
        rows, columns = x.shape
        for module in operation.modules:
            weight = weights[layer, module]
            if weight.shape[0] != columns:
                raise UnknownOperation(f"module {module!r}", f"takes {weight.shape[0]} columns, not {columns}")
            torch.mm(x, weight, out=place(rows, weight.shape[1]))

    def _masked_linear(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        names = [module_weight(operation.layer, module) for module in operation.modules]
        self._masked_product(operation, names, tensors, place)

    def _masked_head(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        self._masked_product(operation, [self._model.head_name], tensors, place)

    def _masked_product(
        self, operation: Operation, names: Sequence[str], tensors: Sequence[Tensor], place: Place
    ) -> None:
        if not self._model.masked:
            raise UnknownOperation(f"operation {operation}", "the session was not started masked", "start with masked")
        (message,) = _expect(operation, tensors, (None, None))
        for name in names:
            product = protect.multiply(message, self._model.masked[name])
            place(*product.shape, dtype=torch.int32).copy_(product)

    def _matmul_scores(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        config = self._config
        query, keys = _expect(operation, tensors, (config.heads, None, config.head_dim), (None, None, config.head_dim))
        self._check_heads(operation, keys)
        past = keys.shape[1] - query.shape[1]
        if past < 0:
            raise UnknownOperation(f"operation {operation}", f"{query.shape[1]} queries over {keys.shape[1]} keys")
        self._scores(query, keys, past, operation.rows, place)

    def _matmul_values(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        config = self._config
        if len(tensors) != 2 or tensors[1].ndim != 3:
            raise UnknownOperation(f"operation {operation}", "takes attention weights and values")
        weights, values = tensors
        _expect(operation, tensors[1:], (None, None, config.head_dim))
        self._check_heads(operation, values)
        self._values(operation, weights, values, place)

    def _qkv_scores(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        config, layer = self._config, operation.layer
        (x,) = _expect(operation, tensors, (None, config.hidden))
        past, end = self._advance(layer, x.shape[0])
        projected = torch.mm(x, self._model.qkv[layer])
        turning = config.query_width + config.kv_width
        heads, value = (
            arithmetic.by_head(projected[:, :turning], config.heads + config.kv_heads),
            projected[:, turning:],
        )
        turned = torch.empty(heads.shape, dtype=x.dtype, device=x.device)
        arithmetic.rotate(heads, self._cosines[past:end], self._sines[past:end], turned)
        query, keys = turned[: config.heads], self._cache.keys[layer]
        query.mul_(config.head_dim**-0.5)
        keys[:, past:end] = turned[config.heads :]
        self._scores(query, keys[:, :end], past, operation.rows, place)
        if operation.resident:
            self._cache.values[layer][:, past:end] = arithmetic.by_head(value, config.kv_heads)
        else:
            place(x.shape[0], config.kv_width).copy_(value)

    def _resident_values(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        if len(tensors) != 1:
            raise UnknownOperation(f"operation {operation}", "takes attention weights")
        self._values(operation, tensors[0], self._resident(operation), place)

    def _values_output(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        config = self._config
        if len(tensors) != 1:
            raise UnknownOperation(f"operation {operation}", "takes attention weights")
        mixed: list[Tensor] = []

        def keep(*shape: int, dtype: torch.dtype | None = None) -> Tensor:  # noqa: ARG001 - a place's signature
            mixed.append(torch.empty(shape, dtype=self._model.dtype, device=self._model.device))
            return mixed[0]

        self._values(operation, tensors[0], self._resident(operation), keep)
        joined = mixed[0].transpose(0, 1).reshape(-1, config.query_width)
        torch.mm(joined, self._model.transposed[operation.layer, "o_proj"], out=place(joined.shape[0], config.hidden))

    def _whole_layer(self, operation: Operation, tensors: Sequence[Tensor], place: Place) -> None:
        (hidden,) = _expect(operation, tensors, (None, self._config.hidden))
        past, _ = self._advance(operation.layer, hidden.shape[0])
        place(*hidden.shape).copy_(self._layers.layer(operation.layer, hidden, self._cache, past))

    # -- inner

    def _scores(self, query: Tensor, keys: Tensor, past: int, rows: int, place: Place) -> None:
        """Scores of (heads, t, d) over (heads or kv_heads, past + t, d), block by block."""
        heads, tokens, width = query.shape
        packed = place(*score_shape(heads, tokens, past, rows))
        shared = keys.shape[0]
        for block, out in arithmetic.block_views(packed, heads, tokens, past, rows):
            part = query[:, block.start : block.end].reshape(shared, -1, width)
            torch.bmm(part, keys[:, : block.columns].transpose(1, 2), out=out.view(shared, -1, block.columns))

    def _values(self, operation: Operation, weights: Tensor, values: Tensor, place: Place) -> None:
        """Attention weights, dense or packed, times values (heads or kv_heads, past + t, d)."""
        heads, keys, width = self._config.heads, values.shape[1], values.shape[2]
        tokens = self._tokens_of(operation, weights, keys)
        past = keys - tokens
        result = place(heads, tokens, width)
        shared = values.shape[0]
        for block, part in arithmetic.block_views(weights, heads, tokens, past, operation.rows):
            rows, seen = part.reshape(shared, -1, block.columns), values[:, : block.columns]
            if block.end - block.start == tokens:
                torch.bmm(rows, seen, out=result.view(shared, -1, width))
            else:
                result[:, block.start : block.end] = torch.bmm(rows, seen).view(heads, -1, width)

    def _tokens_of(self, operation: Operation, weights: Tensor, keys: int) -> int:
        """How many queries these attention weights belong to."""
        heads = self._config.heads
        tokens = weights.shape[1] if weights.ndim == 3 else tokens_of(weights.numel(), heads, keys, operation.rows)
        if not 0 < tokens <= keys or tuple(weights.shape) != score_shape(heads, tokens, keys - tokens, operation.rows):
            raise UnknownOperation(
                f"operation {operation}", f"attention weights of shape {tuple(weights.shape)} over {keys} keys"
            )
        return tokens

    def _advance(self, layer: int, tokens: int) -> tuple[int, int]:
        past = self._past[layer]
        end = past + tokens
        if end > self._limit:
            raise UnknownOperation(
                f"layer {layer}", f"position {end} of {self._limit}", "start with room for more positions"
            )
        self._past[layer] = end
        return past, end

    def _resident(self, operation: Operation) -> Tensor:
        layer, keys = operation.layer, operation.keys
        if not 0 < keys <= self._past[layer]:
            raise UnknownOperation(f"layer {layer}", f"holds {self._past[layer]} values, not {keys}")
        return self._cache.values[layer][:, :keys]

    def _check_heads(self, operation: Operation, shared: Tensor) -> None:
        if shared.shape[0] not in {self._config.heads, self._config.kv_heads}:
            raise UnknownOperation(f"operation {operation}", f"{shared.shape[0]} heads of keys or values")


def _expect(operation: Operation, tensors: Sequence[Tensor], *shapes: tuple[int | None, ...]) -> Sequence[Tensor]:
    """The tensors, if they are as many as these shapes and fit them (None: any extent)."""
    fits = len(tensors) == len(shapes)
    if fits:
        for tensor, shape in zip(tensors, shapes, strict=True):
            found = tensor.shape
            if len(found) != len(shape):
                fits = False
            else:
                for extent, wanted in zip(found, shape, strict=True):
                    fits = fits and wanted in {None, extent}
    if not fits:
        given = ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "nothing"
        taken = ", ".join(str(shape).replace("None", "any") for shape in shapes)
        raise UnknownOperation(f"operation {operation}", f"was given {given}", f"it takes {taken}")
    return tensors
