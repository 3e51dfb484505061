"""int8 weights with one scale per row (output channel): a quarter of the bytes, dequantised where they are used.

Symmetric and per channel, as in Jacob et al. 2018 (arXiv 1712.05877, section 2.1 with zero point 0): a row's largest
magnitude becomes 127, so that no weight is off by more than half a step, max|row| / 254.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
LEVELS = 127


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs, inputs) -> int8 of the same shape, and float32 scales (outputs,): weight = int8 * scale, about."""
    scales = weight.float().abs().amax(dim=1).div_(LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)
    return weight.float().div(scales[:, None]).round_().to(torch.int8), scales


def dequantise(stored: Tensor, scales: Tensor, out: Tensor) -> Tensor:
    """Into `out` (its dtype decides): int8 times its row's scale."""
    if out.dtype is torch.float32:
        return torch.mul(stored, scales[:, None], out=out)
    return out.copy_(stored.float().mul_(scales[:, None]))


def dequantised(tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> Tensor:
    """A tensor as it is computed with, whether it is quantised or not."""
    stored = tensors[name]
    if name + SCALE not in tensors:
        return stored
    return dequantise(stored, tensors[name + SCALE], torch.empty(stored.shape, dtype=dtype))


def dequantise_layer(tensors: Mapping[str, Tensor], scratch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A layer's tensors as they are computed with: those that have scales in `scratch`'s memory."""
    found = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        scales = tensors.get(name + SCALE)
        found[name] = tensor if scales is None else dequantise(tensor, scales, scratch[_tail(name)])
    return found


def scratch_for(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Room for one layer's dequantised weights, whichever layer it is."""
    return {
        _tail(name): torch.empty(tensor.shape, dtype=dtype, device=tensor.device)
        for name, tensor in tensors.items()
        if name + SCALE in tensors
    }


def _tail(name: str) -> str:
    """`self_attn.q_proj.weight` of `model.layers.7.self_attn.q_proj.weight`."""
    return name.split(".", 3)[3]
