"""Single steps of the trusted process, each after a real call whose reply it works on, as in a pass. No fitting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import fmean
from time import perf_counter

import torch
from torch import Tensor

from perfguard_suites.split_rpc import arithmetic, protocol
from perfguard_suites.split_rpc.calls import Results
from perfguard_suites.split_rpc.client import Expected
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.protocol import Operation
from perfguard_suites.split_rpc.replies import torch_dtype
from perfguard_suites.split_rpc.runner import SplitModel
from perfguard_suites.split_rpc.threads import torch_threads
from perfguard_suites.split_rpc.time_model import Point, add_step, style_of
from perfguard_suites.split_rpc.timeline import Timeline
from perfguard_suites.split_rpc.weights import norm_weight
from perfguard_suites.transport.dtypes import from_torch, to_torch

_REPEATS, _REPEATS_ALONE = 2, 4  # of steps on many rows, and on one
SHARED = "shm"
_Taken = tuple[str, int, float]  # a step, its elements, seconds
_Request = tuple[Operation, list[tuple[int, ...]], list[tuple[int, ...]]]


class OwnSteps:
    """The steps of these variants' trusted processes, in every style in which they make what they send."""

    def __init__(self, config: ModelConfig, splits: Sequence[SplitModel], prompt: int) -> None:
        self._config = config
        self._prompt = prompt
        self._styles: dict[str, list[SplitModel]] = {}
        for split in sorted(splits, key=lambda split: split.client.channel.kind != SHARED):
            self._styles.setdefault(style_of(split.variant), []).append(split)

    def points(self) -> Iterator[Point]:
        """Every step at the prompt's rows, a quarter of them, and one."""
        for style, splits in self._styles.items():
            for split in splits:
                split.trusted.timeline = Timeline()
            splits[0].start()
            for tokens in dict.fromkeys((self._prompt, max(2, self._prompt // 4), 1)):
                for name, elements, seconds in self._steps(splits, tokens):
                    features: dict[str, float] = {}
                    add_step(features, f"{style} {name}", elements)
                    yield Point(features, seconds)

    def _steps(self, splits: Sequence[SplitModel], tokens: int) -> Iterator[_Taken]:
        """(step, its elements, seconds)."""
        config, past = self._config, self._prompt - tokens
        hidden, wide = (tokens, config.hidden), (tokens, config.intermediate)
        query = (tokens, config.query_width)
        output: _Request = (Operation(protocol.BATCH_LINEAR, 0, ("o_proj",)), [query], [hidden])
        stream = torch.rand(hidden, device=splits[0].trusted.device)
        split = next((split for split in splits if split.variant.fusion != "whole_layer"), None)
        if split is not None:
            trusted, after = split.trusted, _After(split, tokens)
            norm = norm_weight(0, "input")
            yield "norm", stream.numel(), after(output, lambda _: trusted.norm(norm, stream))
            yield "residual", stream.numel(), after(output, lambda results: stream.add_(results.pop()))
            gate: _Request = (Operation(protocol.BATCH_LINEAR, 0, ("gate_proj", "up_proj")), [hidden], [wide, wide])
            yield "silu", tokens * wide[1], after(gate, lambda results: trusted.gated(*_all(results)))
            mask = arithmetic.causal_mask(tokens, past).to(trusted.device) if tokens > 1 else None
            scores = (config.heads, tokens, self._prompt)
            asked: list[tuple[int, ...]] = [
                (config.heads, tokens, config.head_dim),
                (config.kv_heads, self._prompt, config.head_dim),
            ]
            product: _Request = (Operation(protocol.MATMUL_SCORES), asked, [scores])
            count = config.heads * tokens * self._prompt
            if split.variant.by_handle:  # whose memory has no room for this product's request
                given = torch.rand(scores, device=trusted.device)
                yield "softmax", count, after(output, lambda _: trusted.softmax(given, past, mask))
            elif not split.variant.rows:
                yield "softmax", count, after(product, lambda results: trusted.softmax(results.pop(), past, mask))
        after = _After(splits[0], tokens)
        yield "copy", stream.numel(), after(output, lambda results: results.pop().clone())
        yield from self._of_attention(splits, tokens, output)

    def _of_attention(self, splits: Sequence[SplitModel], tokens: int, output: _Request) -> Iterator[_Taken]:
        """What only some fusions do themselves."""
        config, past = self._config, self._prompt - tokens
        keeping = [split for split in splits if split.variant.fusion in {"per_op", "linear_only"}]
        if keeping:
            trusted, after = keeping[0].trusted, _After(keeping[0], tokens)
            kv = (tokens, config.kv_width)
            query = (tokens, config.query_width)
            modules = ("q_proj", "k_proj", "v_proj")
            asked: _Request = (
                Operation(protocol.BATCH_LINEAR, 0, modules), [(tokens, config.hidden)], [query, kv, kv]
            )  # fmt: skip
            seconds = after(asked, lambda results: trusted.keep(0, results[1], results[2], past))
            yield "keep", 2 * tokens * config.kv_width, seconds
            yield "turn", tokens * query[1], after(asked, lambda results: trusted.turned(results[0].float(), past))
        whole = next((split for split in keeping if split.variant.fusion == "linear_only"), None)
        if whole is not None:
            rotated = torch.rand(config.heads, tokens, config.head_dim)
            step = partial(whole.trusted.attended, 0, rotated, past)
            yield (
                "attention",
                config.heads * tokens * self._prompt,
                _After(whole, tokens)(output, partial(_alone, step)),
            )
        yield from self._of_heads(splits, tokens, output)

    def _of_heads(self, splits: Sequence[SplitModel], tokens: int, output: _Request) -> Iterator[_Taken]:
        """Heads joined, and repeated."""
        config = self._config
        joining = [split for split in splits if split.variant.fusion in {"per_op", "qkv_scores"}]
        if not joining:
            return
        trusted, mixed = joining[0].trusted, torch.rand(config.heads, tokens, config.head_dim)
        yield "join", mixed.numel(), _After(joining[0], tokens)(output, lambda _: trusted.joined(mixed))
        kept = torch.rand(config.kv_heads, self._prompt, config.head_dim)
        for heads, split in {_sent_heads(config, split): split for split in joining}.items():
            repeat = partial(split.trusted.repeated, kept)
            seconds = _After(split, tokens)(output, partial(_alone, repeat))
            yield f"repeat to {heads}", heads * self._prompt * config.head_dim, seconds


class _After:
    """Times steps of one trusted process, each after a call: threads asleep, caches as a call leaves them."""

    def __init__(self, split: SplitModel, tokens: int) -> None:
        self._client = split.client
        self._arena = split.trusted.arena
        self._wire = split.variant.wire
        self._threads = split.own_threads
        self._repeats = _REPEATS_ALONE if tokens == 1 else _REPEATS

    def __call__(self, request: _Request, step: Callable[[list[Tensor]], object]) -> float:
        """The mean seconds of `step`, which is given the reply's tensors and lets go of them."""
        operation, asked, expected = request
        inputs = [from_torch(torch.rand(shape).to(torch_dtype(self._wire))) for shape in asked]
        checks = tuple(Expected(shape, self._wire) for shape in expected)
        method, arena = operation.method, self._arena
        if arena is not None:
            inputs, checks = [], ()
            method += protocol.shapes_words(tuple(asked), tuple(expected))
        taken = []
        for _ in range(self._repeats):
            self._client.submit(method, inputs, checks)
            arrays = self._client.collect().tensors
            results = [to_torch(each) for each in arrays] if arena is None else list(arena.reply(tuple(expected)))
            del arrays
            with torch_threads(self._threads):
                begin_s = perf_counter()
                step(results)
                results.clear()
                if arena is not None:
                    arena.wait()
                taken.append(perf_counter() - begin_s)
        return fmean(taken)


def _alone(step: Callable[[], object], _results: list[Tensor]) -> None:
    step()


def _all(results: list[Tensor]) -> Results:
    given = tuple(results)
    results.clear()
    return given


def _sent_heads(config: ModelConfig, split: SplitModel) -> int:
    return config.heads if split.variant.repeat_first else config.kv_heads
