"""The reference model: its mask, its cache, its weights, and the blocks that scores travel in."""

from __future__ import annotations

import pytest
import torch

from perfguard_suites.split_rpc import arithmetic
from perfguard_suites.split_rpc.config import CONFIGS, config_of
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.split_rpc.scores import score_count
from perfguard_suites.split_rpc.weights import random_weights, tensor_shapes


@torch.inference_mode()
def test_a_later_token_changes_no_earlier_logits() -> None:
    """The causal mask is there: a prompt of identical tokens would have hidden its absence."""
    config = config_of("tiny")
    model = ReferenceModel(config, random_weights(config, seed=1), capacity=16)
    ids = torch.arange(10)
    before = model.forward(ids, every_position=True)
    model.reset()
    ids[-1] = 200
    after = model.forward(ids, every_position=True)
    assert torch.equal(before[:-1], after[:-1])
    assert not torch.equal(before[-1], after[-1])


def test_a_chunked_prefill_is_the_prefill() -> None:
    """Positions may come in several calls: the mask knows the past."""
    config = config_of("tiny")
    model = ReferenceModel(config, random_weights(config, seed=1), capacity=32)
    ids = torch.arange(24) * 7 % config.vocabulary
    whole = model.forward(ids)
    model.reset()
    model.forward(ids[:9])
    model.forward(ids[9:10])
    assert arithmetic.relative_error(model.forward(ids[10:]), whole) < 1e-5


def test_named_configurations_have_the_published_number_of_parameters() -> None:
    """Llama-3.2-1B has 1,235,814,400 parameters (its model card's 1.23 B), all of them in the table of shapes."""
    shapes = tensor_shapes(CONFIGS["llama-1b"])
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 1_235_814_400


def test_each_process_makes_its_own_share_of_random_weights() -> None:
    """A tensor's values depend on seed and name only, not on which others are made."""
    config = config_of("tiny")
    everything = random_weights(config, seed=5)
    name = "model.layers.1.mlp.up_proj.weight"
    assert torch.equal(everything[name], random_weights(config, seed=5, names=[name])[name])
    assert not torch.equal(everything[name], random_weights(config, seed=6, names=[name])[name])


@pytest.mark.parametrize("rows", [0, 1, 4, 64])
@pytest.mark.parametrize("past", [0, 5])
def test_blocks_cover_every_visible_score_once(rows: int, past: int) -> None:
    """Dense or packed, no score that a causal model needs is left out, and the count is what travels."""
    tokens = 13
    seen = torch.zeros(tokens, past + tokens)
    packed = torch.zeros(2 * score_count(tokens, past, rows))
    for block, view in arithmetic.block_views(packed, 2, tokens, past, rows):
        seen[block.start : block.end, : block.columns] += 1
        view.add_(1)
    assert torch.equal(packed, torch.ones_like(packed))
    assert bool((seen[arithmetic.causal_mask(tokens, past) == 0] == 1).all())
