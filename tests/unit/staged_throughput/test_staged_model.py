"""The Qwen3 model: equal to itself whatever is computed beside it, near itself in other arithmetics."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from staged_backends import tiny

from perfguard_suites.split_rpc.arithmetic import relative_error
from perfguard_suites.staged_throughput.backend import Batch
from perfguard_suites.staged_throughput.errors import BackendError
from perfguard_suites.staged_throughput.torch_backend import TorchBackend

NEW = 12
PROMPTS = [[random.Random(i).randrange(256) for _ in range(n)] for i, n in enumerate((9, 1, 17, 3, 16, 2, 33, 5))]


def generate(backend: TorchBackend, arrivals: Sequence[Sequence[int]], slots: Sequence[int]) -> dict[int, list[int]]:
    """Greedy tokens of each prompt; `arrivals[step]` are the prompts that join the batch in that step."""
    tokens: dict[int, list[int]] = {}
    step = 0
    while step < len(arrivals) or any(len(found) < NEW for found in tokens.values()):
        for prompt in arrivals[step] if step < len(arrivals) else ():
            tokens[prompt] = []
        live = sorted((i for i, found in tokens.items() if len(found) < NEW), key=lambda i: slots[i])
        logits = backend.forward_batch(
            Batch(
                [slots[i] for i in live],
                [tokens[i][-1:] or PROMPTS[i] for i in live],
                [len(PROMPTS[i]) + len(tokens[i]) - 1 if tokens[i] else 0 for i in live],
            )
        )
        for i, token in zip(live, logits.argmax(1).tolist(), strict=True):
            tokens[i].append(token)
            if len(tokens[i]) == NEW:
                backend.free(slots[i])
        step += 1
    return tokens


def test_tokens_are_the_same_batched_or_alone_whatever_joins_or_leaves() -> None:
    """Eight prompts at once, one by one into a running batch in other slots, and each alone: the same tokens."""
    backend = tiny()
    assert backend.invariant, "no number of rows gives this CPU's products the same bits"
    everyone = range(len(PROMPTS))
    together = generate(backend, [list(everyone)], list(everyone))
    staggered = generate(backend, [[i] for i in reversed(everyone)], [5, 7, 1, 0, 3, 2, 6, 4])
    alone = {i: generate(backend, [[i]], [i % 3] * 8)[i] for i in everyone}
    assert together == staggered == alone
    assert len({tuple(found) for found in together.values()}) == len(PROMPTS)
    assert backend.cells == 0


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_faster_arithmetics_are_near(dtype: str) -> None:
    """bfloat16 and dynamic int8 give the logits of float32 within a tenth of the largest."""
    batch = Batch([0, 1], PROMPTS[:2], [0, 0])
    exact = torch.from_numpy(tiny().forward_batch(batch).copy())
    assert 0 < relative_error(torch.from_numpy(tiny(dtype).forward_batch(batch)), exact) < 0.1


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (Batch([0], [[1]], [3]), "position 3 was asked for, 0 is next"),
        (Batch([0], [[1] * 65], [0]), "65 tokens from 0 on, of 64 cells"),
        (Batch([8], [[1]], [0]), "there are 8 slots"),
        (Batch([0, 0], [[1], [2]], [0, 0]), "twice"),
        (Batch([0, 1], [[1], [512]], [0, 0]), "outside 0 .. 511"),
        (Batch([], [], []), "no sequence"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_and_leaves_the_cache_alone(batch: Batch, words: str) -> None:
    """Each names what is wrong, no cell is taken, and the backend goes on."""
    backend = tiny()
    with pytest.raises(BackendError, match=words):
        backend.forward_batch(batch)
    assert backend.cells == 0
    assert backend.forward_batch(Batch([0], [[1, 2]], [0])).shape == (1, 512)
    assert (backend.cells, backend.calls) == (2, 1)
