"""The arithmetic of a LLaMA layer outside its linear modules, as pure functions on torch tensors.

Sources: LLaMA (Touvron et al. 2023, arXiv 2302.13971) for the architecture, RMSNorm (Zhang and Sennrich 2019), rotary
embedding (Su et al. 2021) in Hugging Face's layout (the two halves of a head turn together, not neighbours).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.scores import RowBlock, row_blocks


def block_views(packed: Tensor, heads: int, tokens: int, past: int, rows: int) -> Iterator[tuple[RowBlock, Tensor]]:
    """Each block with its (heads, block rows, columns) part of scores that travelled, dense or packed."""
    flat, at = packed.view(-1), 0
    for block in row_blocks(tokens, past, rows):
        count = heads * (block.end - block.start) * block.columns
        yield block, flat[at : at + count].view(heads, block.end - block.start, block.columns)
        at += count


def rms_norm(x: Tensor, weight: Tensor, eps: float, out: Tensor | None = None) -> Tensor:
    """Over the last dimension of x, (tokens, hidden): x / sqrt(mean(x^2) + eps) * weight."""
    if x.is_cuda or x.dtype is not torch.float32:
        normed = functional.rms_norm(x, weight.shape, weight, eps)
        return normed if out is None else out.copy_(normed)
    # torch's own takes twice as many passes over x on a CPU, each with its threads to wake.
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
    return torch.mul(x, square.div_(x.shape[-1]).add_(eps).rsqrt_(), out=out).mul_(weight)


def rotary_frequencies(config: ModelConfig) -> Tensor:
    """Radians per position of each pair, shape (head_dim / 2,), with Llama 3.1's rescaling where configured."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    wavelengths = 2 * math.pi / frequencies
    smooth = (scaling.original_positions / wavelengths - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    # Long waves are stretched by the factor, short ones left alone, those between blended.
    return torch.lerp(frequencies / scaling.factor, frequencies, smooth.clamp(0.0, 1.0))


def rotary_tables(config: ModelConfig, positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (positions, head_dim / 2)."""
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), rotary_frequencies(config))
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor, out: Tensor) -> Tensor:
    """Turn x: (heads, tokens, head_dim) by its positions' tables (tokens, head_dim / 2) into `out`, which is not x."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    torch.mul(first, cosines, out=out[..., :half]).addcmul_(second, sines, value=-1.0)
    torch.mul(second, cosines, out=out[..., half:]).addcmul_(first, sines)
    return out


def by_head(x: Tensor, heads: int) -> Tensor:
    """(tokens, heads * head_dim) seen as (heads, tokens, head_dim); nothing is copied."""
    return x.view(x.shape[0], heads, -1).transpose(0, 1)


def repeat_heads(x: Tensor, groups: int) -> Tensor:
    """(kv_heads, tokens, d) seen as (kv_heads, groups, tokens, d); nothing is copied."""
    return x[:, None].expand(-1, groups, -1, -1)


def causal_mask(tokens: int, past: int) -> Tensor:
    """0 where query `row` may see key `column`, -inf where the key is later; (tokens, past + tokens)."""
    mask = torch.full((tokens, past + tokens), -math.inf)
    return torch.triu(mask, past + 1)


def masked_softmax(scores: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
    """Softmax over the last dimension of scores + mask, into `out` (float32), which is not `scores`."""
    if mask is None:
        return torch.softmax(scores.float(), -1, out=out)
    if out.is_cuda:  # whose softmax promises nothing about a result that lies on its operand
        return torch.softmax(scores + mask, -1, out=out)
    return torch.softmax(torch.add(scores, mask, out=out), -1, out=out)


def attention(query: Tensor, key: Tensor, value: Tensor, past: int) -> Tensor:
    """Causal attention of (heads, t, d) over (kv_heads, past + t, d), scaled by 1 / sqrt(d); (t, heads * d)."""
    heads, tokens, width = query.shape
    groups = heads // key.shape[0]
    shape = (heads, past + tokens, width)
    keys = repeat_heads(key, groups).reshape(shape)
    values = repeat_heads(value, groups).reshape(shape)
    mask = causal_mask(tokens, past).to(query) if past and tokens > 1 else None
    out = functional.scaled_dot_product_attention(
        query[None], keys[None], values[None], attn_mask=mask, is_causal=not past and tokens > 1
    )
    return out[0].transpose(0, 1).reshape(tokens, heads * width)


def silu_product(gate: Tensor, up: Tensor, out: Tensor) -> Tensor:
    """Into `out`: silu(gate) * up, computed in float32 whatever the three are stored in."""
    return torch.mul(functional.silu(gate.float()), up.float(), out=out)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest deviation, relative to the largest expected magnitude."""
    difference = (found.double() - expected.double()).abs().max()
    return float(difference / expected.double().abs().max())
