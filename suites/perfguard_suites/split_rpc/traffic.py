"""The shape model: every call of a pass with its tensors, from configuration and variant alone. Pure; no torch.

What it predicts must equal what crosses, to the byte: there is nothing to fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.scores import score_shape
from perfguard_suites.split_rpc.variants import Variant
from perfguard_suites.transport.mix import CallShape, TensorShape


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one pass, or several, comes to."""

    calls: int
    bytes_sent: int
    bytes_received: int

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.calls + other.calls,
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
        )


def traffic_of(calls: Sequence[CallShape], *, by_handle: bool = False) -> Traffic:
    """The sums over these calls. `by_handle`: what messages carry where tensors do not travel in them: nothing."""
    if by_handle:
        return Traffic(len(calls), 0, 0)
    return Traffic(len(calls), sum(call.sent_bytes for call in calls), sum(call.received_bytes for call in calls))


def chunk_sizes(tokens: int, chunks: int) -> tuple[int, ...]:
    """Consecutive parts of a prompt, as equal as can be, the longer ones first; never an empty one."""
    chunks = min(chunks, tokens)
    return tuple(tokens // chunks + (index < tokens % chunks) for index in range(chunks))


def predict(config: ModelConfig, variant: Variant, tokens: int, past: int = 0) -> tuple[CallShape, ...]:
    """The calls of a pass over `tokens` positions after `past` earlier ones, chunk by chunk."""
    sizes = chunk_sizes(tokens, variant.chunks)
    calls: list[CallShape] = []
    for index, size in enumerate(sizes):
        maker = _Maker(config, variant, size, past + sum(sizes[:index]))
        calls += maker.calls(last=index == len(sizes) - 1)
    return tuple(calls)


def predict_request(config: ModelConfig, variant: Variant, prompt: int, steps: int) -> Traffic:
    """A whole request: the prefill of a prompt, then `steps` decode steps."""
    total = traffic_of(predict(config, variant, prompt), by_handle=variant.by_handle)
    for step in range(steps):
        total += traffic_of(predict(config, variant, 1, prompt + step), by_handle=variant.by_handle)
    return total


def largest_message_bytes(config: ModelConfig, variant: Variant, tokens: int, past: int = 0) -> int:
    """Payload of the largest single message either way: what a channel must carry."""
    return max(max(call.sent_bytes, call.received_bytes) for call in predict(config, variant, tokens, past))


@dataclass(frozen=True, slots=True)
class _Maker:
    """The calls of one chunk: `tokens` positions after `past`."""

    config: ModelConfig
    variant: Variant
    tokens: int
    past: int

    def calls(self, *, last: bool) -> Iterator[CallShape]:
        config, variant, hidden = self.config, self.variant, self.rows(self.config.hidden)
        if variant.embedding == "server":
            yield CallShape("embedding", -1, (TensorShape((self.tokens,), "int64"),), (hidden,))
        for layer in range(config.layers):
            if variant.fusion == "whole_layer":
                yield CallShape("whole_layer", layer, (hidden,), (hidden,))
                continue
            yield from self.attention(layer)
            wide = self.rows(config.intermediate)
            yield self.linear(layer, hidden, (wide, wide))
            yield self.linear(layer, wide, (hidden,))
        if last or variant.head_rows == "all":
            count = self.tokens if variant.head_rows == "all" else 1
            yield self.product("head", -1, self.wire(count, config.hidden), (self.wire(count, config.vocabulary),))

    def attention(self, layer: int) -> Iterator[CallShape]:
        config, fusion = self.config, self.variant.fusion
        hidden, query, kv = self.rows(config.hidden), self.rows(config.query_width), self.rows(config.kv_width)
        scores, keys, mixed = self.scores(), self.keys(), self.wire(config.heads, self.tokens, config.head_dim)
        if fusion in {"per_op", "linear_only"}:
            yield self.linear(layer, hidden, (query, kv, kv))
        if fusion == "per_op":
            yield CallShape("matmul_scores", layer, (mixed, keys), (scores,))
            yield CallShape("matmul_values", layer, (scores, keys), (mixed,))
        if fusion == "qkv_scores":
            resident = self.variant.resident_values
            yield CallShape("qkv_scores", layer, (hidden,), (scores,) if resident else (scores, kv))
            if resident:
                yield CallShape("resident_values", layer, (scores,), (mixed,))
            else:
                yield CallShape("matmul_values", layer, (scores, keys), (mixed,))
        if fusion == "trusted_minimal":
            yield CallShape("qkv_scores", layer, (hidden,), (scores,))
            yield CallShape("values_output", layer, (scores,), (hidden,))
        else:
            yield self.linear(layer, query, (hidden,))

    def linear(self, layer: int, request: TensorShape, reply: tuple[TensorShape, ...]) -> CallShape:
        return self.product("linear", layer, request, reply)

    def product(self, what: str, layer: int, request: TensorShape, reply: tuple[TensorShape, ...]) -> CallShape:
        if "masked" in self.variant.protection:
            as_field = [TensorShape(tensor.shape, "int32") for tensor in (request, *reply)]
            return CallShape(f"masked_{what}", layer, (as_field[0],), tuple(as_field[1:]))
        return CallShape("batch_linear" if what == "linear" else "lm_head", layer, (request,), reply)

    def wire(self, *shape: int) -> TensorShape:
        return TensorShape(shape, self.variant.wire)

    def rows(self, width: int) -> TensorShape:
        return self.wire(self.tokens, width)

    def keys(self) -> TensorShape:
        config = self.config
        heads = config.heads if self.variant.repeat_first else config.kv_heads
        return self.wire(heads, self.past + self.tokens, config.head_dim)

    def scores(self) -> TensorShape:
        return self.wire(*score_shape(self.config.heads, self.tokens, self.past, self.variant.rows))
