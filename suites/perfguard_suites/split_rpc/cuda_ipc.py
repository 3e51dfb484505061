"""Device memory shared between two processes by CUDA IPC handles, as bounded msgpack and never as pickle.

What it gives away: whoever holds a handle maps the whole allocation, reads it and writes it for as long as its owner
lives. A trusted process that shares the memory its activations lie in has no secrets left in them; the label of every
figure measured over it is `DEVICE_MEMORY_LABEL`.

`torch.UntypedStorage._share_cuda_` and `_new_shared_cuda` are what torch.multiprocessing's own reductions use; torch
has no public door to them that does not pickle. Both processes must be on one host and see the same device.
"""

from __future__ import annotations

from typing import Any

import msgpack
import torch
from torch import Tensor

from perfguard_suites.split_rpc.errors import BadReply, ConfigurationError
from perfguard_suites.split_rpc.replies import torch_dtype

DEVICE_MEMORY_LABEL = "insecure: the other process reads and writes this memory at will"
MAX_HANDLE_BYTES = 4096
MAX_SHARED_BYTES = 1 << 40
_MAGIC = "perfguard.cuda-ipc/1"
_FIELDS = ("magic", "dtype", "shape", "device", "handle", "size", "offset", "counter", "counter_at", "event", "sync")


def available() -> bool:
    """Whether there is a CUDA device."""
    return torch.cuda.is_available()


def collect() -> None:
    """Tell owners of memory attached here that what is gone here is not used any more, and the other way round."""
    cuda: Any = torch.cuda
    if available():
        cuda.ipc_collect()


def export(tensor: Tensor) -> bytes:
    """A handle on a contiguous CUDA tensor for one other process; keep the tensor alive as long as that one uses it.

    Raises `ConfigurationError` for a tensor that is not on a CUDA device or not contiguous from its storage's start.
    """
    if not tensor.is_cuda or not tensor.is_contiguous() or tensor.storage_offset():
        raise ConfigurationError("shared tensor", f"is on {tensor.device}, or a part of another", "share a whole one")
    storage: Any = tensor.untyped_storage()  # torch's annotations stop here
    device, handle, size, offset, counter, counter_at, event, sync = storage._share_cuda_()
    fields = (_MAGIC, str(tensor.dtype).removeprefix("torch."), list(tensor.shape), device, handle, size, offset)
    packed: bytes = msgpack.packb([*fields, counter, counter_at, event, bool(sync)], use_bin_type=True)
    return packed


def attach(packed: bytes) -> Tensor:
    """The tensor behind a handle from another process. Raises `BadReply` for what is no handle of this version."""
    if len(packed) > MAX_HANDLE_BYTES:
        raise BadReply("CUDA handle", f"{len(packed)} bytes, the limit is {MAX_HANDLE_BYTES}")
    try:
        raw: Any = msgpack.unpackb(
            packed, raw=False, max_bin_len=1024, max_str_len=128, max_array_len=32, max_map_len=0
        )
    except Exception as error:
        raise BadReply("CUDA handle", f"is not msgpack: {error!r:.200}") from error
    dtype, shape, shared = _checked(raw)
    torch.zeros(1, device="cuda")  # CUDA is initialised by its first use
    storage: Any = torch.UntypedStorage._new_shared_cuda(*shared)  # noqa: SLF001 - see the module's head
    whole = torch.empty(0, dtype=dtype, device=storage.device).set_(storage)
    return whole[: torch.Size(shape).numel()].view(shape)


def _checked(raw: Any) -> tuple[torch.dtype, tuple[int, ...], tuple[Any, ...]]:
    """dtype, shape, and what torch wants. Raises `BadReply` naming the part that is wrong."""
    if not isinstance(raw, list) or len(raw) != len(_FIELDS) or raw[0] != _MAGIC:
        raise BadReply("CUDA handle", f"is none of {_MAGIC}", "is the peer of the same version?")
    found = dict(zip(_FIELDS, raw, strict=True))
    kinds = {"device": int, "size": int, "offset": int, "counter_at": int, "sync": bool}
    kinds |= {"dtype": str, "shape": list, "handle": bytes, "counter": bytes, "event": bytes}
    for name, kind in kinds.items():
        if type(found[name]) is not kind:
            raise BadReply(f"CUDA handle: {name}", f"is a {type(found[name]).__name__}")
    shape = tuple(found["shape"])
    if not all(type(extent) is int and 0 <= extent <= MAX_SHARED_BYTES for extent in shape):
        raise BadReply("CUDA handle: shape", f"{shape!r:.80} is impossible")
    try:
        dtype = torch_dtype(found["dtype"])
    except KeyError as error:
        raise BadReply("CUDA handle: dtype", f"{found['dtype']!r:.40} is unknown") from error
    needed = torch.Size(shape).numel() * dtype.itemsize
    numbers = (found["size"], found["offset"], found["counter_at"], found["device"])
    if not 0 <= needed <= found["size"] <= MAX_SHARED_BYTES or min(numbers) < 0:
        raise BadReply("CUDA handle: size", f"{found['size']} bytes for a tensor of {needed}")
    if not available() or found["device"] >= torch.cuda.device_count():
        raise ConfigurationError("CUDA handle: device", f"device {found['device']} is not here")
    order = ("device", "handle", "size", "offset", "counter", "counter_at", "event", "sync")
    return dtype, shape, tuple(found[name] for name in order)
