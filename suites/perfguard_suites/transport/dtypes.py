"""The dtypes that travel, by name, and the bridge between numpy and torch that keeps bfloat16 without a copy.

torch and ml_dtypes are imported only when a tensor needs them: neither is a cost of sending float32.
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfguard_suites.transport.errors import MalformedMessage, UnsendableMessage

if TYPE_CHECKING:
    import torch

Dtype = np.dtype[Any]

_PLAIN = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)
BFLOAT16 = "bfloat16"
NAMES = (*_PLAIN, BFLOAT16)

_BY_NAME: dict[str, Dtype] = {name: np.dtype(name) for name in _PLAIN}
_NAME_OF: dict[Dtype, str] = {dtype: name for name, dtype in _BY_NAME.items()}


@functools.cache
def bfloat16() -> Dtype:
    """Numpy's bfloat16. Raises `UnsendableMessage` when ml_dtypes is not installed."""
    try:
        import ml_dtypes
    except ImportError as error:
        raise UnsendableMessage(
            "dtype bfloat16", "numpy knows it only through ml_dtypes", "pip install ml_dtypes, or perfguard[suites]"
        ) from error
    dtype: Dtype = np.dtype(ml_dtypes.bfloat16)
    _BY_NAME[BFLOAT16] = dtype
    _NAME_OF[dtype] = BFLOAT16
    return dtype


def dtype_of(name: object) -> Dtype:
    """The dtype of that name as it came from the peer. Raises `MalformedMessage` if there is none."""
    found = _BY_NAME.get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    if name == BFLOAT16:
        return bfloat16()
    raise MalformedMessage("tensor", f"unknown dtype {name!r:.80}", f"one of {', '.join(NAMES)}")


def name_of(dtype: Dtype) -> str:
    """The name that travels. Raises `UnsendableMessage` for a dtype that does not (objects, records, big-endian)."""
    found = _NAME_OF.get(dtype)
    if found is not None:
        return found
    if dtype.name == BFLOAT16 and dtype == bfloat16():
        return BFLOAT16
    raise UnsendableMessage(f"dtype {dtype}", "does not travel", f"convert to one of {', '.join(NAMES)}")


def resolve(dtype: npt.DTypeLike | str) -> Dtype:
    """`np.dtype(dtype)`, and `"bfloat16"` as well. Raises `UnsendableMessage` if it does not travel."""
    resolved = bfloat16() if isinstance(dtype, str) and dtype == BFLOAT16 else np.dtype(dtype)
    name_of(resolved)
    return resolved


def plain(tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory under a dtype that numpy copies with memcpy: foreign dtypes go element by element."""
    return tensor.view(np.uint16) if tensor.dtype.kind == "V" or tensor.dtype.num >= 256 else tensor


@functools.cache
def _torch() -> Any:
    """torch, with its once-a-process warning about read-only arrays already spent."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.from_numpy(np.frombuffer(b"\0", np.uint8))
    return torch


def to_torch(tensor: npt.NDArray[Any]) -> torch.Tensor:
    """A torch tensor on the same memory, bfloat16 included; nothing is copied, the lease stays held.

    torch has no read-only tensors: do not write into the alias of a *received* tensor (its pages are mapped
    read-only, a write is a segmentation fault): `.clone()` it first.
    """
    torch = _torch()
    if name_of(tensor.dtype) == BFLOAT16:
        result = torch.from_numpy(tensor.view(np.uint16)).view(torch.bfloat16)
    else:
        result = torch.from_numpy(tensor)
    return result  # type: ignore[no-any-return]


def from_torch(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """A numpy array on the memory of a CPU tensor, bfloat16 included; nothing is copied."""
    torch = _torch()
    detached = tensor.detach()
    if detached.dtype is torch.bfloat16:
        return detached.view(torch.uint16).numpy().view(bfloat16())
    return detached.numpy()
