"""The torch backend is Qwen3: its logits are Hugging Face transformers', in batches too."""

from __future__ import annotations

import os
import random

import pytest
import torch
from staged_backends import tiny, tiny_weights

from perfguard_suites.split_rpc.arithmetic import relative_error
from perfguard_suites.staged_throughput.backend import Batch
from perfguard_suites.staged_throughput.config import config_of

NEW = 12
PROMPTS = [[random.Random(i).randrange(256) for _ in range(n)] for i, n in enumerate((9, 1, 17, 3))]


def qwen3_of_transformers() -> torch.nn.Module:
    """The same weights in transformers' model."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers", reason="transformers needs Python 3.11")
    config = config_of("tiny")
    model = transformers.Qwen3ForCausalLM(
        transformers.Qwen3Config(
            vocab_size=config.vocabulary,
            hidden_size=config.hidden,
            intermediate_size=config.intermediate,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            max_position_embeddings=config.max_positions,
            rms_norm_eps=config.norm_eps,
            tie_word_embeddings=False,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        )
    ).eval()
    found = model.load_state_dict(dict(tiny_weights()), strict=True)
    assert not found.unexpected_keys
    return model


@torch.inference_mode()
def test_logits_equal_transformers_in_a_batch_of_prompts_and_single_tokens() -> None:
    """Four prompts of different lengths at once, then 12 steps that all take: within 1e-4 of the largest logit."""
    theirs, ours = qwen3_of_transformers(), tiny()
    texts = [list(prompt) for prompt in PROMPTS]
    new, places = [list(text) for text in texts], [0, 0, 0, 0]
    for _ in range(NEW):
        found = torch.from_numpy(ours.forward_batch(Batch(range(4), new, places)))
        for text, row in zip(texts, found, strict=True):
            assert relative_error(row, theirs(input_ids=torch.tensor([text])).logits[0, -1]) < 1e-4
        places = [len(text) for text in texts]
        new = [[token] for token in found.argmax(1).tolist()]
        texts = [text + token for text, token in zip(texts, new, strict=True)]
