"""Where each tensor lies in a safetensors file, read from the file's own header and checked against its size.

The format (huggingface/safetensors, README): eight bytes of header length, little endian, a JSON object of
{name: {dtype, shape, data_offsets}}, then the tensors' bytes, their offsets counted from the header's end.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from perfguard_suites.weight_streaming.errors import WeightsFileError

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
STORED: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in STORED.items()}
AGAIN = "download or make the file again"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor's place: `offset` counts from the file's first byte."""

    name: str
    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of a safetensors file. Raises `WeightsFileError` for one that is truncated or damaged."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            if len(prefix) < 8:
                raise WeightsFileError(str(path), f"has {size_bytes} bytes and no header", AGAIN)
            (length,) = struct.unpack("<Q", prefix)
            if length > min(MAX_HEADER_BYTES, size_bytes - 8):
                raise WeightsFileError(str(path), f"a header of {length} bytes in {size_bytes} bytes of file", AGAIN)
            raw = json.loads(file.read(length))
    except OSError as error:
        raise WeightsFileError(str(path), f"cannot be read: {error}") from error
    except ValueError as error:
        raise WeightsFileError(str(path), f"its header is not JSON: {error}", AGAIN) from error
    if not isinstance(raw, dict):
        raise WeightsFileError(str(path), "its header is not a JSON object", AGAIN)
    raw.pop("__metadata__", None)
    return {str(name): _entry(path, str(name), entry, 8 + length, size_bytes) for name, entry in raw.items()}


def _entry(path: Path, name: str, entry: Any, base: int, file_bytes: int) -> StoredTensor:
    where = f"{path}: {name:.120}"
    try:
        dtype = STORED[entry["dtype"]]
        shape = tuple(_extent(size) for size in entry["shape"])
        begin, end = (_extent(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsFileError(where, f"is not described as a tensor: {error!r:.120}", AGAIN) from error
    size_bytes = math.prod(shape) * dtype.itemsize
    if end - begin != size_bytes:
        raise WeightsFileError(where, f"{end - begin} bytes for a shape {shape} of {dtype}", AGAIN)
    if base + end > file_bytes:
        raise WeightsFileError(where, f"ends at byte {base + end}, but the file at {file_bytes}: truncated", AGAIN)
    return StoredTensor(name, path, dtype, shape, base + begin, size_bytes)


def _extent(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is no size")
    return value
