"""Stage 6, `GenerateEndpoint`: requests as clients write them, answers as text that streams."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Protocol

from perfguard_suites.staged_throughput.channel import Delivery
from perfguard_suites.staged_throughput.errors import InvalidRequest
from perfguard_suites.staged_throughput.gauges import Gauges
from perfguard_suites.staged_throughput.generation import Generation
from perfguard_suites.staged_throughput.request_body import (
    DEFAULT_TOKENS,
    chat_prompt,
    prompt_of,
    sampling_of,
    text_of,
)
from perfguard_suites.staged_throughput.sampling import SamplingParameters
from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer


class Requests(Protocol):
    """A scheduler as an endpoint sees it, in this process or another."""

    refused: int

    @property
    def queued(self) -> int:
        """Requests that wait."""

    @property
    def running(self) -> int:
        """Requests in the batch."""

    def submit(self, sequence: Sequence) -> None:
        """Queue a request. Raises `QueueFull`, and `EngineLost` where there is no engine any more."""

    def cancel(self, sequence: Sequence) -> None:
        """Nobody wants it any more."""

    def gauges(self) -> Gauges:
        """What the engine counts."""


class GenerateEndpoint:
    """Checks, tokenises and submits requests to a scheduler; turns what it delivers into text.

    `deliver` is what the scheduler's channel calls; endpoint and generations belong to the thread that it is called in.
    """

    def __init__(self, tokenizer: ByteTokenizer, model: str, context: int) -> None:
        self.tokenizer, self.model, self.context = tokenizer, model, context
        self.scheduler: Requests | None = None
        self.calls = self.requests = self.prompt_tokens = self.tokens = 0
        self.phases = {"validating and tokenising": 0.0, "detokenising": 0.0}
        self._under_way: dict[Sequence, Generation] = {}
        self._numbers = itertools.count(1)

    def accept(self, body: Mapping[str, Any], *, chat: bool = False, name: str = "") -> Generation:
        """A generation for this request, not submitted yet. Raises `InvalidRequest` naming the field at fault."""
        begin_s = perf_counter()
        self.calls += 1
        model = body.get("model")
        if model not in (None, self.model):
            raise InvalidRequest(
                "model", f"{model!r:.60} is not served here, {self.model!r} is", status=404, code="model_not_found"
            )
        tokens = self._tokens(chat_prompt(body) if chat else prompt_of(body), "messages" if chat else "prompt")
        room = self.context - len(tokens)
        sampling = sampling_of(body, max(1, room) if chat else DEFAULT_TOKENS)
        self._check_room(tokens, sampling, "messages" if chat else "prompt")
        sequence = Sequence(
            name or f"request-{next(self._numbers)}",
            tokens,
            sampling,
            client=text_of(body, "user"),
            arrived_s=begin_s,
        )
        self.phases["validating and tokenising"] += perf_counter() - begin_s
        return Generation(sequence, self.tokenizer)

    def submit(self, generation: Generation) -> None:
        """Queue it. Raises `QueueFull`."""
        assert self.scheduler is not None
        self._under_way[generation.sequence] = generation
        try:
            self.scheduler.submit(generation.sequence)
        except BaseException:
            del self._under_way[generation.sequence]
            raise
        self.requests += 1
        self.prompt_tokens += len(generation.sequence.prompt)

    def cancel(self, generation: Generation) -> None:
        """Nobody reads it any more; idempotent."""
        if self._under_way.pop(generation.sequence, None) is not None and self.scheduler is not None:
            self.scheduler.cancel(generation.sequence)

    def deliver(self, delivery: Delivery) -> None:
        """Hand tokens to their generations; one that a stop text ended is cancelled below."""
        begin_s = perf_counter()
        self.calls += 1
        sequences, tokens, ended = delivery
        under_way = self._under_way
        self.tokens += len(tokens)
        for sequence, token in zip(sequences, tokens, strict=True):
            generation = under_way.get(sequence)
            if generation is not None:
                over = ended and sequence in ended
                if generation.take(token, sequence.finish if over else "") and not over:
                    self.cancel(generation)
        for sequence in ended:
            generation = under_way.pop(sequence, None)
            if generation is not None and not generation.finish:
                generation.take(-1, sequence.finish)
        self.phases["detokenising"] += perf_counter() - begin_s

    def _tokens(self, prompt: str | list[int], field: str) -> list[int]:
        if isinstance(prompt, list):
            outside = next((token for token in prompt if not 0 <= token < self.tokenizer.vocabulary), None)
            if outside is not None:
                raise InvalidRequest(field, f"token {outside} is outside 0 .. {self.tokenizer.vocabulary - 1}")
            return prompt
        try:
            tokens = self.tokenizer.encode(prompt)
        except UnicodeEncodeError:
            raise InvalidRequest(field, "has half of a surrogate pair, which is no text") from None
        if not tokens:
            raise InvalidRequest(field, "is empty")
        return tokens

    def _check_room(self, tokens: list[int], sampling: SamplingParameters, field: str) -> None:
        if len(tokens) >= self.context:
            raise InvalidRequest(
                field,
                f"has {len(tokens)} tokens, of {self.context} positions in all, and none would be left to generate",
                code="context_length_exceeded",
            )
        if len(tokens) + sampling.max_tokens > self.context:
            raise InvalidRequest(
                "max_tokens",
                f"{len(tokens)} tokens of {field} and {sampling.max_tokens} to generate are more than the model's "
                f"{self.context} positions",
                code="context_length_exceeded",
            )
