"""A linear module's product in one of three arithmetics: float32, bfloat16, and int8 with activations quantised anew.

Which numbers of rows give each row the same bits is a property of the library and the CPU: `least_rows` finds it out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from perfguard_suites.staged_throughput.errors import BackendUnavailable

DTYPES = ("fp32", "bf16", "int8")

Linear = Callable[[Tensor], Tensor]


def linear(weight: Tensor, dtype: str) -> Linear:
    """The function x -> x @ weight^T for weight (outputs, inputs), float32; x and the result are float32 but for bf16.

    Raises `BackendUnavailable` for an unknown arithmetic, and where torch has no int8 kernels on this machine.
    """
    if dtype == "fp32":
        return lambda x: functional.linear(x, weight)
    if dtype == "bf16":
        half = weight.bfloat16()
        return lambda x: functional.linear(x, half)
    if dtype == "int8":
        return _int8(weight)
    raise BackendUnavailable(f"dtype {dtype!r:.20}", "is unknown", f"one of {', '.join(DTYPES)}")


def _int8(weight: Tensor) -> Linear:
    """Weights by output channel, symmetric; activations by tensor, so that rows of one batch share a scale."""
    if "x86" not in torch.backends.quantized.supported_engines:
        raise BackendUnavailable("dtype int8", "torch has no int8 kernels for this CPU", "take fp32 or bf16")
    scales = weight.abs().amax(1).clamp_min_(1e-12).div_(127.0).double()
    with warnings.catch_warnings():
        # Quantised tensors are to move to another library; the kernels that this needs have no other door yet.
        warnings.filterwarnings("ignore", message=".*quantize", category=UserWarning)
        quantised = torch.quantize_per_channel(
            weight, scales, torch.zeros(len(scales), dtype=torch.long), 0, torch.qint8
        )
        packed = torch.ops.quantized.linear_prepack(quantised, None)
    product = torch.ops.quantized.linear_dynamic
    return lambda x: product(x, packed, True)  # True: activations in 7 bits, or AVX2's products of pairs overflow


def least_rows(weights: Iterable[Tensor], rows: Sequence[int], candidates: Sequence[int] = (1, 2, 4, 8)) -> int:
    """The fewest rows from which on a row's product has the same bits however many rows are beside it.

    Libraries multiply few rows by other kernels than many, which add up in another order. Tried on each shape among
    `weights` with every number of `rows`, the largest with its rows in another order as well; 0 where no candidate will
    do. float32 only: int8's rows share a scale.
    """
    kinds = {weight.shape: weight for weight in weights}
    for least in candidates:
        tried = sorted({least, *(count for count in rows if count > least)})
        if all(_alike(weight, tried) for weight in kinds.values()):
            return least
    return 0


def _alike(weight: Tensor, rows: Sequence[int]) -> bool:
    x = torch.randn(rows[-1], weight.shape[1], generator=torch.Generator().manual_seed(len(weight)))
    whole = functional.linear(x, weight)
    order = torch.arange(rows[-1] - 1, -1, -1)
    return torch.equal(functional.linear(x[order], weight)[order], whole) and all(
        torch.equal(functional.linear(x[:count], weight), whole[:count]) for count in rows
    )
