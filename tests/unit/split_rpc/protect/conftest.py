"""Seeded secrets and small groups of modules for the tests of the protection levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from perfguard_suites.split_rpc.protect import LinearGroup, SeededEntropy, quantise_weight

GroupMaker = Callable[..., LinearGroup]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors are tiny here: on a busy machine, waiting for a second thread took twenty times as long as the sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def entropy() -> SeededEntropy:
    return SeededEntropy(b"a seed for tests, sixteen or more")


@pytest.fixture
def make_group() -> GroupMaker:
    def make(inputs: int = 48, outputs: tuple[int, ...] = (32, 8, 8), seed: int = 0, bits: int = 10) -> LinearGroup:
        generator = torch.Generator().manual_seed(seed)
        weights = [torch.randn(n, inputs, generator=generator) * 0.05 for n in outputs]
        return LinearGroup(
            "layer 3 q_proj+k_proj+v_proj",
            tuple(quantise_weight(f"layer 3 module {i}", w, bits) for i, w in enumerate(weights)),
        )

    return make
