"""The reference model is LLaMA: its logits are Hugging Face transformers', prefill and decode."""

from __future__ import annotations

import os

import pytest
import torch

from perfguard_suites.split_rpc import arithmetic
from perfguard_suites.split_rpc.config import ModelConfig, RopeScaling, config_of
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.split_rpc.weights import Weights, random_weights

DECODE_STEPS = 16
BOUND = 1e-4


def hugging_face(config: ModelConfig, weights: Weights) -> torch.nn.Module:
    """The model of transformers with the same weights."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers", reason="transformers needs Python 3.11")
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.rope_scaling:
        rope |= {
            "rope_type": "llama3",
            "factor": config.rope_scaling.factor,
            "low_freq_factor": config.rope_scaling.low_freq_factor,
            "high_freq_factor": config.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": config.rope_scaling.original_positions,
        }
    llama = transformers.LlamaConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.hidden,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_positions,
        rms_norm_eps=config.norm_eps,
        tie_word_embeddings=config.tied,
        rope_parameters=rope,
    )
    model = transformers.LlamaForCausalLM(llama).eval()
    found = model.load_state_dict(dict(weights), strict=False)
    assert not found.unexpected_keys
    assert set(found.missing_keys) <= ({"lm_head.weight"} if config.tied else set())
    return model


VARIANTS = {
    "tiny": config_of("tiny"),
    "tied": ModelConfig("tied", 48, 3, 6, 2, 8, 96, 199, 128, norm_eps=1e-6, rope_theta=500000.0, tied=True),
    # The prompt is long against the original positions, so that all three regimes of the rescaling are in use.
    "llama3-rope": ModelConfig(
        "llama3-rope", 64, 2, 4, 1, 32, 128, 211, 512, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 64)
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_logits_equal_transformers_for_prefill_and_decode(name: str) -> None:
    """Every position of a prefill of varied tokens, then 16 decode steps: within 1e-4 of the largest logit."""
    config = VARIANTS[name]
    weights = random_weights(config, seed=7)
    theirs = hugging_face(config, weights)
    ours = ReferenceModel(config, weights, capacity=64)
    ids = torch.randint(0, config.vocabulary, (33 + DECODE_STEPS,), generator=torch.Generator().manual_seed(3))
    assert len(set(ids.tolist())) > 20
    expected = theirs(input_ids=ids[None]).logits[0]
    found = ours.forward(ids[:33], every_position=True)
    assert arithmetic.relative_error(found, expected[:33]) < BOUND
    for position in range(33, 33 + DECODE_STEPS):
        found = ours.forward(ids[position : position + 1])
        assert arithmetic.relative_error(found[0], expected[position]) < BOUND
