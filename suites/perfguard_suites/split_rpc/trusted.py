"""The trusted process's part of the model: what it computes itself, and what it asks of the server, step by step.

A pass over a chunk of positions is a generator: it yields calls and is sent their results, so that one driver serves
synchronous passes and pipelined ones alike. Results are read-only views of received memory.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from perfguard_suites.split_rpc import arithmetic, protocol
from perfguard_suites.split_rpc.calls import Call, Outgoing, Results, Steps
from perfguard_suites.split_rpc.client import Expected
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.device_memory import DeviceArena
from perfguard_suites.split_rpc.guards import Guard
from perfguard_suites.split_rpc.model import KeyValueCache
from perfguard_suites.split_rpc.protocol import Operation
from perfguard_suites.split_rpc.replies import torch_dtype, worth_lending
from perfguard_suites.split_rpc.scores import score_shape
from perfguard_suites.split_rpc.timeline import Timeline
from perfguard_suites.split_rpc.variants import Variant
from perfguard_suites.split_rpc.weights import EMBEDDING, FINAL_NORM, Weights, norm_weight
from perfguard_suites.transport.channel import Channel
from perfguard_suites.transport.dtypes import from_torch, resolve, to_torch

_NO_ARRAY: npt.NDArray[np.float32] = np.empty(0, np.float32)


class TrustedModel:
    """Tokens, norms, rotation, softmax, SiLU and residuals, for one variant, in float32.

    `weights`: the norms, and the embedding if the variant looks tokens up here. `positions`: room in the caches.
    `guard`: protects linear calls. `arena`: memory shared with the server, in which all of this is computed then.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        variant: Variant,
        channel: Channel,
        positions: int,
        guard: Guard | None = None,
        arena: DeviceArena | None = None,
    ) -> None:
        self.arena = arena
        self.device = torch.device("cpu") if arena is None else arena.device
        self._guard = guard
        self._masked = variant.protection in {"masked", "masked_verified"}
        self.config = config
        self.variant = variant
        self.positions = positions
        self.timeline = Timeline()
        self._weights = {name: tensor.to(self.device) for name, tensor in weights.items()}
        self._channel = channel
        self._wire = resolve(variant.wire)
        self._exact = variant.wire == "float32"
        self._cosines, self._sines = arithmetic.rotary_tables(config, positions)
        if variant.fusion in {"per_op", "qkv_scores", "linear_only"}:
            self._cache = KeyValueCache(config, positions, torch.float32)

    def steps(self, ids: Tensor, past: int, *, head: bool) -> Steps:
        """The pass over these token ids after `past` positions; returns logits (float32), empty unless `head`."""
        hidden = yield from self._embed(ids)
        mask = arithmetic.causal_mask(len(ids), past).to(self.device) if len(ids) > 1 else None
        self.timeline.mark("mask")
        for layer in range(self.config.layers):
            hidden = yield from self._layer(layer, hidden, past, mask)
        if not head:
            return torch.empty(0)
        x = self.norm(FINAL_NORM, hidden if self.variant.head_rows == "all" else hidden[-1:])
        rows = x.tensor.shape[0]
        (logits,) = yield from self._product(Operation(protocol.LM_HEAD), x, (rows, self.config.vocabulary))
        copied = logits.float() if not self._exact else logits.clone() if self.arena is None else logits.cpu()
        self.timeline.mark("logits")
        return copied

    # -- the parts of a pass

    def _embed(self, ids: Tensor) -> Generator[Call, Results, Tensor]:
        if self.variant.embedding == "client":
            hidden = self._weights[EMBEDDING][ids.to(self.device)].float()
            self.timeline.mark("embedding")
            return hidden
        operation = Operation(protocol.EMBEDDING, dtype=self.variant.wire)
        out = self.outgoing(len(ids), dtype="int64")
        out.tensor.copy_(ids)
        (hidden,) = yield self._call(operation, [out], (len(ids), self.config.hidden))
        owned = hidden.float() if not self._exact else hidden.clone()
        self.timeline.mark("residual")
        return owned

    def _layer(self, layer: int, hidden: Tensor, past: int, mask: Tensor | None) -> Generator[Call, Results, Tensor]:
        config = self.config
        if self.variant.fusion == "whole_layer":
            out = self.outgoing(*hidden.shape)
            out.tensor.copy_(hidden)
            self.timeline.mark("copy")
            (result,) = yield self._call(Operation(protocol.WHOLE_LAYER, layer), [out], tuple(hidden.shape))
            return result
        x = self.norm(norm_weight(layer, "input"), hidden)
        attended = yield from self._attention(layer, x, past, mask)
        hidden.add_(attended)
        self.timeline.mark("residual")
        x = self.norm(norm_weight(layer, "post_attention"), hidden)
        wide = (hidden.shape[0], config.intermediate)
        gate, up = yield from self._linear(layer, ("gate_proj", "up_proj"), x, wide, wide)
        gated = self.gated(gate, up)
        del gate, up
        self.timeline.mark("silu")
        (down,) = yield from self._linear(layer, ("down_proj",), gated, tuple(hidden.shape))
        hidden.add_(down)
        self.timeline.mark("residual")
        return hidden

    def _attention(self, layer: int, x: Outgoing, past: int, mask: Tensor | None) -> Generator[Call, Results, Tensor]:
        fusion = self.variant.fusion
        if fusion == "trusted_minimal":
            scores = yield from self._fused_scores(layer, x, past, resident=True)
            weights = self.softmax(scores[0], past, mask)
            del scores
            operation = self._valued(protocol.VALUES_OUTPUT, layer, past + x.tensor.shape[0])
            (attended,) = yield self._call(operation, [weights], (x.tensor.shape[0], self.config.hidden))
            return attended
        if fusion == "linear_only":
            joined = yield from self._local_attention(layer, x, past)
        else:
            joined = yield from self._remote_attention(layer, x, past, mask)
        (attended,) = yield from self._linear(layer, ("o_proj",), joined, (joined.tensor.shape[0], self.config.hidden))
        return attended

    def _fused_scores(self, layer: int, x: Outgoing, past: int, *, resident: bool) -> Generator[Call, Results, Results]:
        config, rows, tokens = self.config, self.variant.rows, x.tensor.shape[0]
        operation = Operation(protocol.QKV_SCORES, layer, rows=rows, resident=resident)
        shapes = [score_shape(config.heads, tokens, past, rows)]
        results = yield self._call(operation, [x], *shapes, *([] if resident else [(tokens, config.kv_width)]))
        return results

    def _project(self, layer: int, x: Outgoing, past: int) -> Generator[Call, Results, Tensor]:
        """Query as it came, (tokens, query_width); keys rotated and values in the cache."""
        config, tokens = self.config, x.tensor.shape[0]
        kv = (tokens, config.kv_width)
        query, key, value = yield from self._linear(
            layer, ("q_proj", "k_proj", "v_proj"), x, (tokens, config.query_width), kv, kv
        )
        self.keep(layer, key, value, past)
        return query.float()

    def _local_attention(self, layer: int, x: Outgoing, past: int) -> Generator[Call, Results, Outgoing]:
        """Attention whole in this process."""
        config, tokens = self.config, x.tensor.shape[0]
        query = yield from self._project(layer, x, past)
        heads = arithmetic.by_head(query, config.heads)
        rotated = arithmetic.rotate(heads, *self._tables(past, tokens), torch.empty(heads.shape))
        self.timeline.mark("rotary")
        joined = self.attended(layer, rotated, past)
        self.timeline.mark("attention")
        return joined

    def _remote_attention(
        self, layer: int, x: Outgoing, past: int, mask: Tensor | None
    ) -> Generator[Call, Results, Outgoing]:
        """Scores and weighted values on the server, softmax here."""
        config, variant, tokens = self.config, self.variant, x.tensor.shape[0]
        resident = variant.fusion == "qkv_scores" and variant.resident_values
        if variant.fusion == "qkv_scores":
            results = yield from self._fused_scores(layer, x, past, resident=resident)
            if not resident:
                value = arithmetic.by_head(results[1], config.kv_heads)
                self._cache.values[layer][:, past : past + tokens] = value
        else:
            results = yield from self._remote_scores(layer, x, past)
        weights = self.softmax(results[0], past, mask)
        del results  # the scores' memory goes back to the server
        shape = (config.heads, tokens, config.head_dim)
        if resident:
            operation = self._valued(protocol.RESIDENT_VALUES, layer, past + tokens)
            (mixed,) = yield self._call(operation, [weights], shape)
        else:
            values = self.repeated(self._cache.values[layer][:, : past + tokens])
            self.timeline.mark("values")
            operation = Operation(protocol.MATMUL_VALUES, rows=variant.rows)
            (mixed,) = yield self._call(operation, [weights, values], shape)
        joined = self.joined(mixed)
        self.timeline.mark("join heads")
        return joined

    def _remote_scores(self, layer: int, x: Outgoing, past: int) -> Generator[Call, Results, Results]:
        config, tokens = self.config, x.tensor.shape[0]
        query = yield from self._project(layer, x, past)
        out = self.turned(query, past)
        keys = self.repeated(self._cache.keys[layer][:, : past + tokens])
        self.timeline.mark("rotary")
        operation = Operation(protocol.MATMUL_SCORES, rows=self.variant.rows)
        shape = score_shape(config.heads, tokens, past, self.variant.rows)
        results = yield self._call(operation, [out, keys], shape)
        return results

    # -- single steps, alone in micro-measurements as well

    def gated(self, gate: Tensor, up: Tensor) -> Outgoing:
        """silu(gate) * up, (tokens, intermediate), to be sent."""
        out = self.outgoing(*gate.shape)
        arithmetic.silu_product(gate, up, self._work(out))
        self._seal(out)
        return out

    def keep(self, layer: int, key: Tensor, value: Tensor, past: int) -> None:
        """Projected keys, rotated, and values, each (tokens, kv_width), into the cache."""
        heads, end = self.config.kv_heads, past + key.shape[0]
        table = self._tables(past, key.shape[0])
        arithmetic.rotate(arithmetic.by_head(key.float(), heads), *table, self._cache.keys[layer][:, past:end])
        self._cache.values[layer][:, past:end] = arithmetic.by_head(value, heads)

    def turned(self, query: Tensor, past: int) -> Outgoing:
        """Queries, (tokens, query_width), by head, rotated and scaled, to be sent."""
        config, tokens = self.config, query.shape[0]
        out = self.outgoing(config.heads, tokens, config.head_dim)
        work = arithmetic.rotate(arithmetic.by_head(query, config.heads), *self._tables(past, tokens), self._work(out))
        work.mul_(config.head_dim**-0.5)
        self._seal(out)
        return out

    def attended(self, layer: int, rotated: Tensor, past: int) -> Outgoing:
        """Attention of rotated queries over the cache's keys and values, to be sent."""
        tokens, end = rotated.shape[1], past + rotated.shape[1]
        keys, values = self._cache.keys[layer][:, :end], self._cache.values[layer][:, :end]
        out = self.outgoing(tokens, self.config.query_width)
        out.tensor.copy_(arithmetic.attention(rotated, keys, values, past))
        return out

    def joined(self, mixed: Tensor) -> Outgoing:
        """Weighted values, (heads, tokens, head_dim), side by side, to be sent."""
        heads, tokens, width = mixed.shape
        out = self.outgoing(tokens, heads * width)
        out.tensor.view(tokens, heads, width).copy_(mixed.transpose(0, 1))
        return out

    def softmax(self, scores: Tensor, past: int, mask: Tensor | None) -> Outgoing:
        """Attention weights of scores that travelled, dense or packed."""
        heads, rows = self.config.heads, self.variant.rows
        tokens = 1 if mask is None else mask.shape[0]
        out = self.outgoing(*scores.shape)
        work = self._work(out)
        parts = zip(
            arithmetic.block_views(scores, heads, tokens, past, rows),
            arithmetic.block_views(work, heads, tokens, past, rows),
            strict=True,
        )
        for (block, given), (_, result) in parts:
            seen = None if mask is None else mask[block.start : block.end, : block.columns]
            arithmetic.masked_softmax(given, seen, result)
        self._seal(out)
        self.timeline.mark("softmax")
        return out

    def norm(self, name: str, hidden: Tensor) -> Outgoing:
        """RMSNorm with the named weight, to be sent."""
        out = self.outgoing(*hidden.shape)
        arithmetic.rms_norm(hidden, self._weights[name], self.config.norm_eps, self._work(out))
        self._seal(out)
        self.timeline.mark("norm")
        return out

    # -- tensors on their way out

    def repeated(self, cached: Tensor) -> Outgoing:
        """Keys or values, (kv_heads, keys, head_dim), as they are sent: as they are, or repeated to all heads."""
        heads, tokens, width = cached.shape
        if not self.variant.repeat_first:
            out = self.outgoing(heads, tokens, width)
            out.tensor.copy_(cached)
            return out
        out = self.outgoing(self.config.heads, tokens, width)
        groups = self.config.groups
        out.tensor.view(heads, groups, tokens, width).copy_(arithmetic.repeat_heads(cached, groups))
        return out

    def outgoing(self, *shape: int, dtype: str = "") -> Outgoing:
        """Memory to send: shared with the server, or lent by the channel, where the variant says so."""
        if self.arena is not None:
            return Outgoing(self.arena.request((shape,))[0], _NO_ARRAY)
        if self._masked:  # what is sent is another tensor
            tensor = torch.empty(shape)
            return Outgoing(tensor, from_torch(tensor))
        if self.variant.loans and worth_lending(shape):
            array = self._channel.loan(shape, dtype or self._wire)
            return Outgoing(to_torch(array), array)
        tensor = torch.empty(shape, dtype=torch_dtype(dtype or self.variant.wire))
        return Outgoing(tensor, from_torch(tensor))

    def _work(self, out: Outgoing) -> Tensor:
        """Where to compute in float32: in the outgoing memory itself if that is float32."""
        self._draft = out.tensor if self._exact else torch.empty(out.tensor.shape)
        return self._draft

    def _seal(self, out: Outgoing) -> None:
        """What was computed in `_work` is now in the outgoing memory, in the wire's dtype."""
        if not self._exact:
            out.tensor.copy_(self._draft)

    def _tables(self, past: int, tokens: int) -> tuple[Tensor, Tensor]:
        return self._cosines[past : past + tokens], self._sines[past : past + tokens]

    def _valued(self, name: str, layer: int, keys: int) -> Operation:
        return Operation(name, layer, rows=self.variant.rows, keys=keys)

    def _linear(
        self, layer: int, modules: tuple[str, ...], x: Outgoing, *shapes: tuple[int, ...]
    ) -> Generator[Call, Results, Results]:
        return self._product(_linear_operation(layer, modules), x, *shapes)

    def _product(
        self, operation: Operation, x: Outgoing, *shapes: tuple[int, ...]
    ) -> Generator[Call, Results, Results]:
        """A product with known weights: the one kind of call that a guard protects."""
        plain = self._call(operation, [x], *shapes)
        if self._guard is not None:
            return (yield from self._guard.product(operation, x, plain, self.timeline))
        return (yield plain)

    def _call(self, operation: Operation, sent: Sequence[Outgoing], *shapes: tuple[int, ...]) -> Call:
        wire = self.variant.wire
        if self.arena is not None:
            return self._handed_over(operation, sent, shapes)
        return Call(operation, tuple([out.array for out in sent]), tuple([Expected(shape, wire) for shape in shapes]))

    def _handed_over(self, operation: Operation, sent: Sequence[Outgoing], shapes: tuple[tuple[int, ...], ...]) -> Call:
        """A call whose tensors stay where they are: all that was ordered from the device is done before it goes."""
        assert self.arena is not None
        request = tuple(tuple(out.tensor.shape) for out in sent)
        self.arena.count(request, shapes)
        self.arena.wait()
        self.timeline.mark("device")
        return Call(operation, (), (), protocol.shapes_words(request, shapes), self.arena.reply(shapes))


@functools.cache
def _linear_operation(layer: int, modules: tuple[str, ...]) -> Operation:
    return Operation(protocol.BATCH_LINEAR, layer, modules)
