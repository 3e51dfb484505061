"""Seeded random weights in Qwen3's shape: LLaMA's, and a norm for the heads of each layer's queries and keys."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from types import MappingProxyType

import torch
from torch import Tensor

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.weights import Weights, random_weights, tensor_shapes


def head_norm(layer: int, which: str) -> str:
    """The checkpoint's name of the norm of each query head (`q`) or key head (`k`)."""
    return f"model.layers.{layer}.self_attn.{which}_norm.weight"


def qwen3_weights(config: ModelConfig, seed: int) -> Weights:
    """All tensors under their checkpoint names, float32. A tensor depends on the seed and its own name only."""
    return MappingProxyType(dict(each_weight(config, seed)))


def qwen3_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor."""
    norms = [head_norm(layer, which) for layer in range(config.layers) for which in ("q", "k")]
    return {**tensor_shapes(config), **dict.fromkeys(norms, (config.head_dim,))}


def each_weight(config: ModelConfig, seed: int) -> Iterator[tuple[str, Tensor]]:
    """The same tensors one after the other, for a model that is written rather than held."""
    plain = tensor_shapes(config)
    for name, shape in qwen3_shapes(config).items():
        if name in plain:
            yield name, random_weights(config, seed, names=[name])[name]
        else:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            yield name, torch.randn(shape, generator=generator).mul_(0.1).add_(1.0)
