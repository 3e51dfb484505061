"""Qwen3 on batches of sequences: prompts and single tokens side by side, each sequence on its own cells of the cache.

Source: Qwen3 technical report (2025, arXiv 2505.09388): LLaMA's layer with an RMSNorm of each query and key head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from perfguard_suites.split_rpc import arithmetic
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.weights import EMBEDDING, FINAL_NORM, Weights, head_weight, module_weight, norm_weight
from perfguard_suites.staged_throughput.kv_cache import KeyValueCache
from perfguard_suites.staged_throughput.linear import linear
from perfguard_suites.staged_throughput.weights import head_norm

# Keys are looked at in whole vectors: a sequence's attention then has the same bits beside longer ones.
KEY_BLOCK = 16


class _Layer:
    """One layer's weights, the products of one input put together."""

    def __init__(self, config: ModelConfig, weights: Weights, layer: int, dtype: str) -> None:
        def joined(*modules: str) -> Tensor:
            return torch.cat([weights[module_weight(layer, module)] for module in modules])

        self.query_key_value = linear(joined("q_proj", "k_proj", "v_proj"), dtype)
        self.output = linear(weights[module_weight(layer, "o_proj")], dtype)
        self.gate_up = linear(joined("gate_proj", "up_proj"), dtype)
        self.down = linear(weights[module_weight(layer, "down_proj")], dtype)
        hold = torch.bfloat16 if dtype == "bf16" else torch.float32
        self.before, self.after = (weights[norm_weight(layer, which)].to(hold) for which in ("input", "post_attention"))
        heads = [weights[head_norm(layer, "q")]] * config.heads + [weights[head_norm(layer, "k")]] * config.kv_heads
        self.heads = torch.stack(heads).to(hold)


class Qwen3:
    """A model on the CPU. `dtype`: fp32, bf16 or int8 (dynamic; its norms and attention are float32).

    `least_rows`: shorter batches are filled up to so many rows, see `linear.least_rows`.
    """

    def __init__(self, config: ModelConfig, weights: Weights, dtype: str, positions: int, least_rows: int = 1) -> None:
        self.config = config
        self.least_rows = least_rows
        self.held = torch.bfloat16 if dtype == "bf16" else torch.float32
        self._embedding = weights[EMBEDDING].to(self.held)
        self._layers = [_Layer(config, weights, layer, dtype) for layer in range(config.layers)]
        self._norm = weights[FINAL_NORM].to(self.held)
        self._head = linear(weights[head_weight(config)], dtype)
        self._cosines, self._sines = (
            table.to(self.held)[:, None] for table in arithmetic.rotary_tables(config, positions)
        )

    @torch.inference_mode()
    def forward(self, tokens: Sequence[Sequence[int]], sequences: Sequence[int], cache: KeyValueCache) -> Tensor:
        """Logits (sequences, vocabulary), float32, after each sequence's new tokens; the cache takes their cells.

        The cache's lengths stay as they are: the caller moves them on when this has succeeded.
        """
        counts = [len(each) for each in tokens]
        starts = [cache.lengths[sequence] for sequence in sequences]
        flat = [token for each in tokens for token in each]
        rows, filled = len(flat), max(0, self.least_rows - len(flat))
        at = torch.tensor([p for start, count in zip(starts, counts, strict=True) for p in range(start, start + count)])
        slots = torch.tensor([s for s, count in zip(sequences, counts, strict=True) for _ in range(count)])
        turned = functional.pad(at, (0, filled)) if filled else at
        turns = self._cosines[turned], self._sines[turned]
        shares = list(_shares(sequences, starts, counts, self.held))
        hidden = self._embedding[torch.tensor(flat + [0] * filled)]
        attended = hidden.new_zeros((len(hidden), self.config.query_width))
        for index, layer in enumerate(self._layers):
            query = self._project(layer, hidden, turns, (cache.keys[index], cache.values[index]), slots, at)
            for share in shares:
                attended[share.row : share.row + share.rows] = self._attend(
                    query[share.row : share.row + share.rows], share, cache.keys[index], cache.values[index]
                )
            hidden = hidden + layer.output(attended)
            x = arithmetic.rms_norm(hidden, layer.after, self.config.norm_eps)
            gate, up = layer.gate_up(x).chunk(2, -1)
            hidden += layer.down(functional.silu(gate).mul_(up))
        single = rows == len(sequences)
        if not single:
            last = torch.tensor(counts).cumsum_(0).sub_(1)
            hidden = hidden[functional.pad(last, (0, max(0, self.least_rows - len(counts))))]
        logits: Tensor = self._head(arithmetic.rms_norm(hidden, self._norm, self.config.norm_eps))
        return logits[: len(sequences)].float()

    def _project(
        self,
        layer: _Layer,
        hidden: Tensor,
        turns: tuple[Tensor, Tensor],
        cells: tuple[Tensor, Tensor],
        slots: Tensor,
        at: Tensor,
    ) -> Tensor:
        """Queries (rows, heads, head_dim), rotated by `turns`; keys and values go into `cells`."""
        config, rows = self.config, len(at)
        x = arithmetic.rms_norm(hidden, layer.before, config.norm_eps)
        heads = layer.query_key_value(x).view(len(hidden), -1, config.head_dim)
        turning = config.heads + config.kv_heads
        normed = arithmetic.rms_norm(heads[:, :turning], layer.heads, config.norm_eps)
        turned = arithmetic.rotate(normed, *turns, torch.empty_like(normed))
        cells[0][slots, :, at] = turned[:rows, config.heads :]
        cells[1][slots, :, at] = heads[:rows, turning:]
        return turned[:rows, : config.heads]

    def _attend(self, query: Tensor, share: _Share, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of one share's rows, (rows, heads * head_dim)."""
        config, slot = self.config, share.slot
        if share.mask is None:
            seen = slice(share.start + share.rows)
            return arithmetic.attention(query.transpose(0, 1), keys[slot, :, seen], values[slot, :, seen], share.start)
        # One token of each sequence: the query heads that share a key head are its rows.
        found = functional.scaled_dot_product_attention(
            query.reshape(share.rows, config.kv_heads, config.groups, config.head_dim),
            keys[slot : slot + share.rows, :, : share.mask.shape[-1]],
            values[slot : slot + share.rows, :, : share.mask.shape[-1]],
            attn_mask=share.mask,
        )
        return found.reshape(share.rows, -1)


class _Share(NamedTuple):
    """Rows whose attention is one call: several tokens of one sequence, or one token each of neighbouring slots.

    `mask`: of the latter, (rows, 1, 1, keys): -inf where a key is none of the sequence's.
    """

    row: int
    rows: int
    slot: int
    start: int
    mask: Tensor | None


def _shares(
    sequences: Sequence[int], starts: Sequence[int], counts: Sequence[int], dtype: torch.dtype
) -> Iterator[_Share]:
    """A batch's shares. Which one a sequence is in depends on its own tokens only, so that its bits do."""
    row = at = 0
    while at < len(sequences):
        if counts[at] > 1:
            yield _Share(row, counts[at], sequences[at], starts[at], None)
            row, at = row + counts[at], at + 1
            continue
        end = at + 1
        while end < len(sequences) and counts[end] == 1 and sequences[end] == sequences[end - 1] + 1:
            end += 1
        keys = KEY_BLOCK * math.ceil((max(starts[at:end]) + 1) / KEY_BLOCK)
        seen = torch.arange(keys) <= torch.tensor(starts[at:end])[:, None]
        mask = torch.full((end - at, keys), -math.inf, dtype=dtype).masked_fill_(seen, 0.0)
        yield _Share(row, end - at, sequences[at], 0, mask[:, None, None])
        row, at = row + end - at, end
