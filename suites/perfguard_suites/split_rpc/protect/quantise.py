"""Fixed point: weights and activations become integers whose products provably stay inside the field.

A weight row (one output) and an activation row (one token) each have their own scale, both symmetric and both kept
on the trusted side. The weight's bits are chosen; the activation gets as many levels as the bound then allows:

    levels x max over outputs j of sum over inputs k of |w_jk|  <=  HALF = (2^31 - 2) / 2

so no product of any activation can wrap, and with at least 127 levels the same bound makes each float64 product
with a field element exact: |w|_1 <= HALF / 127 < 2^23, times HALF < 2^53.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from perfguard_suites.split_rpc.protect.errors import QuantisationOverflow, UnquantisableInput
from perfguard_suites.split_rpc.protect.field import HALF
from perfguard_suites.split_rpc.protect.server_side import multiply_tiled

FEWEST_LEVELS = 127  # an activation of 8 bits; fewer would be noise
MOST_LEVELS = 1 << 20  # where float32 still rounds x / scale to the right level (error at most 2^-3 of one)
WEIGHT_BITS = 10
_TINY = float(torch.finfo(torch.float32).tiny)
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True)
class QuantisedWeight:
    """weight ~ values x scale[:, None]: `values` int16 (outputs, inputs), `scale` float32 (outputs,), on the CPU.

    `activation_levels`: the largest activation integer for which no product leaves the field.
    """

    name: str
    values: torch.Tensor
    scale: torch.Tensor
    activation_levels: int

    @property
    def outputs(self) -> int:
        """How many features come out."""
        return int(self.values.shape[0])

    @property
    def inputs(self) -> int:
        """How many features go in."""
        return int(self.values.shape[1])


@dataclass(frozen=True, slots=True)
class QuantisedRows:
    """x ~ values x scale: `values` int32 (rows, inputs), `scale` float32 (rows, 1)."""

    values: torch.Tensor
    scale: torch.Tensor


@dataclass(frozen=True)
class LinearGroup:
    """Modules of one call that share their input; `name` is the layer and modules, as errors will name them.

    Raises `UnquantisableInput` if there are none, or they have different numbers of inputs.
    """

    name: str
    weights: tuple[QuantisedWeight, ...]

    def __post_init__(self) -> None:
        if len({weight.inputs for weight in self.weights}) != 1:
            raise UnquantisableInput(
                self.name,
                f"its modules take {[weight.inputs for weight in self.weights]} inputs",
                "group modules, one at least, that share one input",
            )

    @property
    def inputs(self) -> int:
        """Features of the shared input."""
        return self.weights[0].inputs

    @functools.cached_property
    def outputs(self) -> tuple[int, ...]:
        """Features that come out, for each module."""
        return tuple(weight.outputs for weight in self.weights)

    @functools.cached_property
    def activation_levels(self) -> int:
        """Levels that suit all modules: the fewest of theirs."""
        return min(weight.activation_levels for weight in self.weights)


def quantise_weight(name: str, weight: torch.Tensor, bits: int = WEIGHT_BITS) -> QuantisedWeight:
    """Integers of `bits` (2 to 16) for a weight of shape (outputs, inputs) and any float dtype.

    Always computed on the CPU in float32, element by element, so that client and server get the same integers from the
    same weight whatever device they use. Raises `UnquantisableInput` (NaN, infinity, not a matrix) and
    `QuantisationOverflow`, which names the bound, if fewer than 127 levels would be left to the activations.
    """
    if weight.ndim != 2 or not weight.is_floating_point() or not 2 <= bits <= 16:
        raise UnquantisableInput(
            name, f"{weight.dtype} {tuple(weight.shape)} to {bits} bits", "give a float matrix and 2 to 16 bits"
        )
    values = torch.empty(weight.shape, dtype=torch.int16)
    scale = torch.empty(weight.shape[0], dtype=torch.float32)
    largest, step = 0, max(1, _BLOCK_ELEMENTS // max(weight.shape[1], 1))
    for start in range(0, weight.shape[0], step):
        block = weight[start : start + step].detach().to(device="cpu", dtype=torch.float32)
        block_scale, block_values = _scaled(name, block, (1 << (bits - 1)) - 1)
        values[start : start + step] = block_values
        scale[start : start + step] = block_scale[:, 0]
        largest = max(largest, int(values[start : start + step].abs().sum(dim=1, dtype=torch.int64).max()))
    levels = min(MOST_LEVELS, HALF // max(largest, 1))
    if levels < FEWEST_LEVELS:
        raise QuantisationOverflow(
            name,
            f"a row of {bits}-bit weights sums to {largest} in magnitude: activations of {FEWEST_LEVELS} levels could "
            f"reach {largest * FEWEST_LEVELS}, over the field's {HALF}",
            f"quantise its weights to fewer bits (now {bits}) or split its {weight.shape[1]} inputs",
        )
    return QuantisedWeight(name, values, scale, levels)


def quantise_rows(name: str, x: torch.Tensor, levels: int) -> QuantisedRows:
    """Integers of magnitude at most `levels` for activations: float, shape (rows, inputs), one scale per row.

    The scale comes from the row's own largest magnitude, so nothing saturates. `levels`: a group's
    `activation_levels` (raises `QuantisationOverflow` outside 1 .. 2^20). Raises `UnquantisableInput` for NaN or
    infinity and for what is no float matrix.
    """
    if not 1 <= levels <= MOST_LEVELS:
        raise QuantisationOverflow(name, f"{levels} levels", f"use the group's levels, 1 to {MOST_LEVELS}")
    if x.ndim != 2 or not x.is_floating_point():
        raise UnquantisableInput(name, f"{x.dtype} {tuple(x.shape)}", "give floats of shape (rows, inputs)")
    scale, values = _scaled(name, x.detach().to(torch.float32), levels)
    return QuantisedRows(values.to(torch.int32), scale)


def dequantise(products: torch.Tensor, row_scale: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
    """float32 results of integer products: products x row_scale x weight_scale.

    Shapes (rows, outputs), (rows, 1) and (outputs,); the same three roundings always, so equal integers give equal
    floats.
    """
    return products.to(torch.float32).mul_(row_scale).mul_(weight_scale)


def clear_linear(group: LinearGroup, x: torch.Tensor) -> list[torch.Tensor]:
    """The same quantised computation without masks or server: what a masked call must equal, bit by bit.

    `x`: float (rows, inputs); one float32 (rows, outputs) for each module. Raises as `quantise_rows` does.
    """
    rows = quantise_rows(group.name, x, group.activation_levels)
    return [dequantise(multiply_tiled(rows.values, w.values), rows.scale, w.scale) for w in group.weights]


def error_bound(x: torch.Tensor, group: LinearGroup) -> list[torch.Tensor]:
    """How far quantisation alone can move each result, float64 (rows, outputs) for each module.

    Rounding moves an activation by at most half its step s_i, a weight by at most half its step t_j, hence
    |y_ij - y'_ij| <= |x_i|_1 t_j / 2 + s_i t_j |w'_j|_1 / 2; the float roundings of scaling come on top (a few 2^-24 of
    |x_i|_1 max |w_j|).
    """
    rows = quantise_rows(group.name, x, group.activation_levels)
    sums = x.to(torch.float64).abs().sum(dim=1, keepdim=True)
    steps = rows.scale.to(torch.float64)
    return [
        (sums + steps * weight.values.abs().sum(dim=1, dtype=torch.int64)) * weight.scale.to(torch.float64) / 2
        for weight in group.weights
    ]


def joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The modules' columns side by side; a single one is not copied."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim=1)


def _scaled(name: str, x: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale (rows, 1) and integers, still in float32, of magnitude at most `levels`."""
    if x.numel() == 0:
        return torch.ones((x.shape[0], 1), dtype=torch.float32, device=x.device), torch.zeros_like(x)
    largest = x.abs().amax(dim=1, keepdim=True)  # aminmax and vector_norm take fifteen times as long along a dimension
    if not bool(torch.isfinite(largest).all()):
        row = int(torch.nonzero(~torch.isfinite(largest[:, 0]))[0])
        raise UnquantisableInput(name, f"row {row} holds NaN or infinity", "look at what computed it")
    # A subnormal scale has too few bits to divide by: such rows make do with fewer levels.
    scale = (largest / levels).clamp_min_(_TINY)
    return scale, (x / scale).round_()
