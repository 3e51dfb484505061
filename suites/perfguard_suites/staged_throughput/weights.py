"""Seeded random weights in Qwen3's shape: LLaMA's, and a norm for the heads of each layer's queries and keys."""

from __future__ import annotations

import zlib
from types import MappingProxyType

import torch

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.weights import Weights, random_weights


def head_norm(layer: int, which: str) -> str:
    """The checkpoint's name of the norm of each query head (`q`) or key head (`k`)."""
    return f"model.layers.{layer}.self_attn.{which}_norm.weight"


def qwen3_weights(config: ModelConfig, seed: int) -> Weights:
    """All tensors under their checkpoint names, float32. A tensor depends on the seed and its own name only."""
    norms = {}
    for name in (head_norm(layer, which) for layer in range(config.layers) for which in ("q", "k")):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
        norms[name] = torch.randn(config.head_dim, generator=generator).mul_(0.1).add_(1.0)
    return MappingProxyType({**random_weights(config, seed), **norms})
