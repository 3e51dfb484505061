"""The workload mix: the 98 messages of a split LLaMA prefill, in their true order with their true tensor shapes.

A trusted process keeps token ids, embeddings' use, norms, softmax and SiLU; a server holds the weights and does
the matrix products. `predict` says from the shapes alone what crosses between them, to the byte; `run_mix`
sends exactly that over any channel and counts what crossed.

What the figures of the measured system settle (LLaMA-3.2-1B, 1024 tokens, fp32: 3328.02 MiB sent, 3656.50 MiB
received): sixteen layers send 16 x 208 = 3328 MiB, so 0.015625 MiB = 16384 bytes are left for the embedding and
the head. 8192 bytes are the 1024 token ids as int64 (as int32 the total would read 3328.01), 8192 bytes
one position of 2048 fp32 for the head (all positions would be 8 MiB). Received: 16 x 228 + 8 (embeddings) MiB
+ one position of logits, 128256 x 4 bytes = 3656.49 MiB; the measured total agrees to 0.01 MiB.
K and V are repeated from 8 to 32 heads before they are sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from perfguard.errors import OptionError
from perfguard_suites.transport.channel import Message, Tensor
from perfguard_suites.transport.dtypes import name_of, resolve
from perfguard_suites.transport.errors import ChannelError
from perfguard_suites.transport.roundtrip import Client, Span
from perfguard_suites.transport.server import reply_spec
from perfguard_suites.transport.wire import MAX_TENSORS

MAX_TOKENS = 8192
MAX_FIGURE = 1 << 20
WIRE_DTYPES = ("float32", "float16", "bfloat16", "float64")
MIX_METHOD = "mix"
_ALIGNMENT = 64
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8, "int32": 4, "int64": 8, "uint8": 1}


class MixMismatch(ChannelError):  # noqa: N818 - named for what happened
    """What came back is not what the model's shape predicts."""


@dataclass(frozen=True, slots=True)
class TensorShape:
    """Shape and dtype name of one tensor on the wire."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size_bytes(self) -> int:
        """Payload bytes, without any metadata."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class CallShape:
    """One remote call: which product (`layer` is -1 outside the layers), what goes there and what comes back."""

    method: str
    layer: int
    request: tuple[TensorShape, ...]
    reply: tuple[TensorShape, ...]

    @property
    def sent_bytes(self) -> int:
        """Payload bytes from the trusted process to the server."""
        return sum(tensor.size_bytes for tensor in self.request)

    @property
    def received_bytes(self) -> int:
        """Payload bytes from the server to the trusted process."""
        return sum(tensor.size_bytes for tensor in self.reply)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of a LLaMA-like model decides the traffic; the defaults are LLaMA-3.2-1B.

    Source of the defaults: the `config.json` published with Llama-3.2-1B.
    """

    hidden: int = 2048
    layers: int = 16
    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 64
    intermediate: int = 8192
    vocabulary: int = 128256
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "kv_heads", "head_dim", "intermediate", "vocabulary"):
            value = getattr(self, name)
            if not 1 <= value <= MAX_FIGURE:
                raise OptionError(f"model shape: {name}", f"{value} is not in 1 .. {MAX_FIGURE}", "check the figure")
        if self.heads % self.kv_heads:
            raise OptionError(
                "model shape: kv_heads",
                f"{self.heads} heads do not share {self.kv_heads} evenly",
                "take a divisor of heads",
            )
        if self.dtype not in WIRE_DTYPES:
            raise OptionError("model shape: dtype", f"unknown {self.dtype!r}", f"use one of {', '.join(WIRE_DTYPES)}")


LLAMA_1B = ModelShape()


def predict(shape: ModelShape = LLAMA_1B, tokens: int = 1024) -> tuple[CallShape, ...]:
    """The calls of one prefill of `tokens` tokens in order: embedding, 6 per layer, head. Raises `OptionError`."""

    def parts(layer: int, build: _Builder) -> Iterator[CallShape]:
        per_head, scores = build.per_head(), build.scores()
        yield build.call("qkv", layer, [build.hidden()], [build.query(), build.key_value(), build.key_value()])
        yield build.call("scores", layer, [per_head, per_head], [scores])
        yield build.call("weighted_values", layer, [scores, per_head], [per_head])
        yield build.call("output", layer, [build.query()], [build.hidden()])
        yield build.call("gate_up", layer, [build.hidden()], [build.wide(), build.wide()])
        yield build.call("down", layer, [build.wide()], [build.hidden()])

    build = _Builder(shape, _check_tokens(tokens))
    layers = [call for layer in range(shape.layers) for call in parts(layer, build)]
    return (build.embedding(), *layers, build.head())


def predict_fused(shape: ModelShape = LLAMA_1B, tokens: int = 1024) -> tuple[CallShape, ...]:
    """The same prefill in 4 calls a layer, the fewest that leave softmax, norms and SiLU in the trusted process.

    qkv and the scores become one call (keys and values stay on the server), the weighted values and the output
    projection another. The server learns nothing new: it computed all of these products before.
    """
    build = _Builder(shape, _check_tokens(tokens))
    layers = []
    for layer in range(shape.layers):
        layers += [
            build.call("qkv_scores", layer, [build.hidden()], [build.scores()]),
            build.call("values_output", layer, [build.scores()], [build.hidden()]),
            build.call("gate_up", layer, [build.hidden()], [build.wide(), build.wide()]),
            build.call("down", layer, [build.wide()], [build.hidden()]),
        ]
    return (build.embedding(), *layers, build.head())


def _check_tokens(tokens: int) -> int:
    if not 1 <= tokens <= MAX_TOKENS:
        raise OptionError("tokens", f"{tokens} is not in 1 .. {MAX_TOKENS}", "choose a prompt length the model takes")
    return tokens


@dataclass(frozen=True, slots=True)
class _Builder:
    """The tensors of one model at one prompt length, by name."""

    shape: ModelShape
    tokens: int

    def _tensor(self, *shape: int) -> TensorShape:
        return TensorShape(shape, self.shape.dtype)

    def hidden(self) -> TensorShape:
        return self._tensor(1, self.tokens, self.shape.hidden)

    def query(self) -> TensorShape:
        return self._tensor(1, self.tokens, self.shape.heads * self.shape.head_dim)

    def key_value(self) -> TensorShape:
        return self._tensor(1, self.tokens, self.shape.kv_heads * self.shape.head_dim)

    def per_head(self) -> TensorShape:
        return self._tensor(self.shape.heads, self.tokens, self.shape.head_dim)

    def scores(self) -> TensorShape:
        return self._tensor(self.shape.heads, self.tokens, self.tokens)

    def wide(self) -> TensorShape:
        return self._tensor(1, self.tokens, self.shape.intermediate)

    def embedding(self) -> CallShape:
        return self.call("embedding", -1, [TensorShape((1, self.tokens), "int64")], [self.hidden()])

    def head(self) -> CallShape:
        return self.call(
            "head", -1, [self._tensor(1, 1, self.shape.hidden)], [self._tensor(1, 1, self.shape.vocabulary)]
        )

    def call(self, method: str, layer: int, request: list[TensorShape], reply: list[TensorShape]) -> CallShape:
        return CallShape(method, layer, tuple(request), tuple(reply))


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call as it happened: its spans, the caller's own wall time, and the bytes the channel counted."""

    call: CallShape
    wall_ns: int
    spans: tuple[Span, ...]
    sent_bytes: int
    received_bytes: int

    @property
    def unexplained_bytes(self) -> int:
        """Bytes that crossed and were not predicted, or the other way round."""
        sent, received = self.call.sent_bytes, self.call.received_bytes
        return abs(self.sent_bytes - sent) + abs(self.received_bytes - received)


def run_mix(
    client: Client,
    calls: Sequence[CallShape],
    *,
    payload: Tensor | None = None,
    loaned: bool = False,
    timeout_s: float = 60.0,
) -> list[CallRecord]:
    """Drive the calls over the channel, one after another, and check each against its prediction.

    The requests' tensors are ready before the first call, as a model's activations would be; with `loaned` each
    is a buffer of the channel's own instead, taken within the call's time. `payload` from `payload_for` serves several
    runs. Raises `MixMismatch` when a reply has other shapes than predicted, and the channel's errors.
    """
    if payload is None and not loaned:
        payload = payload_for(calls)
    return [_run_call(client, call, payload, timeout_s) for call in calls]


def unexplained_bytes(records: Iterable[CallRecord]) -> int:
    """Over all calls; 0 when the shapes explain the traffic exactly."""
    return sum(record.unexplained_bytes for record in records)


def _run_call(client: Client, call: CallShape, payload: Tensor | None, timeout_s: float) -> CallRecord:
    channel = client.channel
    attributes = {"reply": reply_spec([(tensor.shape, tensor.dtype) for tensor in call.reply])}
    tensors = _views(payload, call) if payload is not None else ()
    sent_before, received_before = channel.payload_bytes()
    begin_ns = perf_counter_ns()
    if payload is None:
        tensors = tuple([channel.loan(tensor.shape, tensor.dtype) for tensor in call.request])
    trip = client.call(Message(MIX_METHOD, tensors, attributes), timeout_s)
    end_ns = perf_counter_ns()
    sent, received = channel.payload_bytes()
    found = tuple([TensorShape(tuple(t.shape), name_of(t.dtype)) for t in trip.reply.tensors])
    if found != call.reply:
        raise MixMismatch(
            f"{call.method} of layer {call.layer}",
            f"replied with {found}, predicted {call.reply}",
            "is the server of the same version?",
        )
    return CallRecord(call, end_ns - begin_ns, trip.spans, sent - sent_before, received - received_before)


def payload_for(calls: Sequence[CallShape]) -> Tensor:
    """One array, large enough that each call's request tensors are views of it.

    It is written once, so that no page of it is the kernel's shared zero page, which would copy too fast.
    """
    size_bytes = max(call.sent_bytes for call in calls)
    payload: Tensor = np.full(size_bytes + MAX_TENSORS * _ALIGNMENT, 1, np.uint8)
    return payload


def _views(payload: Tensor, call: CallShape) -> tuple[Tensor, ...]:
    views, at = [], 0
    for tensor in call.request:
        views.append(payload[at : at + tensor.size_bytes].view(resolve(tensor.dtype)).reshape(tensor.shape))
        at += tensor.size_bytes + -tensor.size_bytes % _ALIGNMENT
    return tuple(views)
