"""The whole model in one process: what the split system's results and times are compared with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from perfguard_suites.split_rpc import arithmetic
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.weights import EMBEDDING, FINAL_NORM, Weights, head_weight, module_weight, norm_weight


class KeyValueCache:
    """Rotated keys and values of the positions so far: (kv_heads, capacity, head_dim) for each layer."""

    def __init__(self, config: ModelConfig, capacity: int, dtype: torch.dtype, device: str = "cpu") -> None:
        shape = (config.kv_heads, capacity, config.head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]


class LayerArithmetic:
    """One decoder layer on resident weights; shared by the reference and by a server that runs whole layers."""

    def __init__(self, config: ModelConfig, weights: Weights, cosines: Tensor, sines: Tensor) -> None:
        self._config = config
        self._weights = weights
        self._cosines = cosines
        self._sines = sines

    def linear(self, layer: int, module: str, x: Tensor) -> Tensor:
        """One module: x @ weight^T, x: (tokens, inputs)."""
        return functional.linear(x, self._weights[module_weight(layer, module)])

    def norm(self, name: str, x: Tensor) -> Tensor:
        """RMSNorm with the named weight."""
        return arithmetic.rms_norm(x, self._weights[name], self._config.norm_eps)

    def layer(self, layer: int, hidden: Tensor, cache: KeyValueCache, past: int) -> Tensor:
        """hidden: (tokens, hidden) in and out; the cache takes this layer's keys and values."""
        config = self._config
        end = past + hidden.shape[0]
        cosines, sines = self._cosines[past:end], self._sines[past:end]
        x = self.norm(norm_weight(layer, "input"), hidden)
        heads = arithmetic.by_head(self.linear(layer, "q_proj", x), config.heads)
        query = arithmetic.rotate(heads, cosines, sines, torch.empty(heads.shape, dtype=x.dtype, device=x.device))
        key = arithmetic.by_head(self.linear(layer, "k_proj", x), config.kv_heads)
        arithmetic.rotate(key, cosines, sines, cache.keys[layer][:, past:end])
        cache.values[layer][:, past:end] = arithmetic.by_head(self.linear(layer, "v_proj", x), config.kv_heads)
        attended = arithmetic.attention(query, cache.keys[layer][:, :end], cache.values[layer][:, :end], past)
        hidden = hidden + self.linear(layer, "o_proj", attended)
        x = self.norm(norm_weight(layer, "post_attention"), hidden)
        gate, up = self.linear(layer, "gate_proj", x), self.linear(layer, "up_proj", x)
        return hidden + self.linear(layer, "down_proj", arithmetic.silu_product(gate, up, torch.empty_like(gate)))


class ReferenceModel:
    """Prefill and decode with a KV cache of `capacity` positions, on the CPU or any torch device."""

    def __init__(self, config: ModelConfig, weights: Weights, capacity: int, device: str = "cpu") -> None:
        self.config = config
        self.weights = {name: tensor.to(device) for name, tensor in weights.items()}
        self._device = device
        dtype = self.weights[EMBEDDING].dtype
        tables = [table.to(device=device, dtype=dtype) for table in arithmetic.rotary_tables(config, capacity)]
        self._layers = LayerArithmetic(config, self.weights, tables[0], tables[1])
        self._cache = KeyValueCache(config, capacity, dtype, device)
        self.past = 0

    @torch.inference_mode()
    def forward(self, ids: Tensor, *, every_position: bool = False) -> Tensor:
        """Logits (1, vocabulary) after these token ids (int64, (tokens,)) at the next positions, or of each of them."""
        hidden = self.weights[EMBEDDING][ids.to(self._device)]
        for layer in range(self.config.layers):
            hidden = self._layers.layer(layer, hidden, self._cache, self.past)
        self.past += ids.shape[0]
        x = self._layers.norm(FINAL_NORM, hidden if every_position else hidden[-1:])
        return functional.linear(x, self.weights[head_weight(self.config)]).cpu()

    def reset(self) -> None:
        """Forget all positions."""
        self.past = 0
