"""What the untrusted server runs for a masked call: one float64 matrix product and its reduction modulo the prime.

It needs nothing secret: field elements in, field elements out, on the CPU or on CUDA. Measured alternatives on the
CPU, all exact too: int64 products some 70 times as slow as float32, limbs of 8 bits in float32 or int8 6 to 90 times;
float64 takes twice as long as float32 (docs/split-rpc-protection.md).
"""

from __future__ import annotations

import torch

from perfguard_suites.split_rpc.protect.errors import MalformedReply, QuantisationOverflow
from perfguard_suites.split_rpc.protect.field import EXACT, HALF, reduced

_TILE_ELEMENTS = 1 << 22  # 32 MiB of float64: what converting weights on the fly may take


def resident(values: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    """The weight as it stays on the device: float64, shape (outputs, inputs), 8 bytes per element.

    `values`: integers, shape (outputs, inputs), as `quantise_weight` makes them. Raises `QuantisationOverflow` if a
    product with a field element could leave float64's exact integers: such a weight is no quantised one.
    """
    weight = values.to(device=device, dtype=torch.float64)
    largest = int(torch.linalg.vector_norm(weight, ord=1, dim=1).max()) if weight.numel() else 0
    if largest * HALF > EXACT:
        raise QuantisationOverflow(
            f"weight of shape {tuple(values.shape)}",
            f"a row's magnitudes sum to {largest}; times {HALF} that is over 2^53",
            "quantise it with quantise_weight, with fewer bits",
        )
    return weight


def multiply(message: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`message` times the transposed weight modulo the prime: centred residues, int32, (rows, outputs).

    `message`: int32 centred residues, (rows, inputs), on the weight's device. `weight`: from `resident`. Raises
    `MalformedReply` for a message of another shape or dtype: the server answers with it instead of computing.
    """
    if message.ndim != 2 or message.shape[1] != weight.shape[1] or message.dtype != torch.int32:
        raise MalformedReply(
            f"masked message of {message.dtype} {tuple(message.shape)}",
            f"does not fit a weight of shape {tuple(weight.shape)}",
            "send int32 residues of shape (rows, inputs)",
        )
    return reduced(message.to(torch.float64) @ weight.T)


def multiply_tiled(message: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`multiply` for integers that are not resident in float64: converts a few rows of the weight at a time.

    For the offline phase, which has many rows per weight and must not hold 8 bytes for each of its elements.
    `message`: int32, (rows, inputs); `values`: int16, (outputs, inputs), bounded as in `resident`.
    """
    wide = message.to(torch.float64)
    out = torch.empty((message.shape[0], values.shape[0]), dtype=torch.int32, device=message.device)
    step = max(1, _TILE_ELEMENTS // max(values.shape[1], message.shape[0], 1))
    for start in range(0, values.shape[0], step):
        tile = values[start : start + step].to(device=message.device, dtype=torch.float64)
        out[:, start : start + step] = reduced(wide @ tile.T)
    return out
