"""Whether a file is a whole GGUF, looked up before llama.cpp maps it: behind a cut one its process would die.

Source: the GGUF specification, version 3 (ggml's docs/gguf.md). Only the head is read, never the tensors' data.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfguard_suites.staged_throughput.errors import ModelFileError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_ENTRIES = 1 << 20
MOST_DIMENSIONS = 4
LARGEST_EXTENT = 1 << 40
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_COUNT = struct.Struct("<Q")
# Figures of the architecture that llama.cpp divides by, or asserts, instead of refusing what is none.
_FIGURES = ("block_count", "context_length", "embedding_length", "attention.head_count")
_MOST_LAYERS = 512


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: dimensions, the innermost first; ggml's number of its type; where its data lies, bytes."""

    name: str
    dimensions: tuple[int, ...]
    kind: int
    begin: int
    size: int


@dataclass(frozen=True, slots=True)
class Gguf:
    """What the head of a file says. `values`: without the elements of arrays, of which it has the counts."""

    path: Path
    values: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]

    @property
    def architecture(self) -> str:
        """Such as `qwen3`."""
        return str(self.values.get("general.architecture", ""))


def check_gguf(path: Path) -> Gguf:
    """The head of a GGUF whose tensors all lie within the file. Raises `ModelFileError` naming file and problem."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _Reader(path, data).read()
    except OSError as error:
        raise ModelFileError(str(path), f"cannot be read: {error.strerror or error}") from error
    except ValueError:  # mmap's word for an empty file
        raise ModelFileError(str(path), "is empty", _ADVICE) from None
    _check_figures(found)
    return found


_ADVICE = "is the download complete? copy or make it again"


class _Reader:
    """Reads on from a place in the file, never past its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path, self._data, self._at = path, data, 0

    def read(self) -> Gguf:
        """The whole head."""
        if self._bytes(4, "its first bytes") != MAGIC:
            raise self._wrong("is no GGUF: it does not begin with that word")
        version = self._scalar("I", "version")
        if version not in VERSIONS:
            raise self._wrong(f"has version {version} of the format, {VERSIONS[0]} and {VERSIONS[1]} are read")
        tensors, entries = self._count("tensors"), self._count("entries")
        values = dict(self._entry() for _ in range(entries))
        heads = [self._tensor() for _ in range(tensors)]
        return Gguf(self._path, values, self._placed(heads, values.get("general.alignment", 32)))

    def _entry(self) -> tuple[str, Any]:
        key = self._string("a key")
        return key, self._value(self._scalar("I", key), key)

    def _value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self._string(key)
        if kind != _ARRAY:
            return self._scalar(self._format(kind, key), key)
        kind, count = self._scalar("I", key), self._count(key)
        if kind == _STRING:
            for _ in range(count):
                self._skip(self._length(key), key)
        else:
            self._skip(count * struct.calcsize(self._format(kind, key)), key)
        return count

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string("a tensor's name")
        ranks = self._scalar("I", name)
        if not 1 <= ranks <= MOST_DIMENSIONS:
            raise self._wrong(f"has {ranks} dimensions of tensor {name!r:.80}")
        dimensions = tuple(int(self._scalar("Q", name)) for _ in range(ranks))
        if not all(1 <= each <= LARGEST_EXTENT for each in dimensions) or math.prod(dimensions) > LARGEST_EXTENT:
            raise self._wrong(f"has dimensions {dimensions} of tensor {name!r:.80}")
        return name, dimensions, int(self._scalar("I", name)), int(self._scalar("Q", name))

    def _placed(self, heads: list[tuple[str, tuple[int, ...], int, int]], alignment: Any) -> dict[str, TensorInfo]:
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise self._wrong(f"has {alignment!r:.40} as its alignment")
        base = -(-self._at // alignment) * alignment
        found: dict[str, TensorInfo] = {}
        for name, dimensions, kind, offset in heads:
            if name in found:
                raise self._wrong(f"has tensor {name!r:.80} twice")
            if offset % alignment:
                raise self._wrong(f"has tensor {name!r:.80} at {offset}, no multiple of {alignment}")
            info = TensorInfo(name, dimensions, kind, base + offset, self._size(name, dimensions, kind))
            if info.begin + info.size > len(self._data):
                raise self._wrong(
                    f"is cut off: tensor {name!r:.80} ends at byte {info.begin + info.size}, "
                    f"the file at {len(self._data)}"
                )
            found[name] = info
        return found

    def _size(self, name: str, dimensions: tuple[int, ...], kind: int) -> int:
        """Bytes of a tensor. A row is whole blocks of its type."""
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise self._wrong(f"has type {kind} of tensor {name!r:.80}, which is unknown") from None
        if dimensions[0] % block:
            raise self._wrong(f"has rows of {dimensions[0]} in tensor {name!r:.80}, its type has blocks of {block}")
        return math.prod(dimensions) // block * size

    def _format(self, kind: int, key: str) -> str:
        found = _SCALARS.get(kind)
        if found is None:
            raise self._wrong(f"has type {kind} of {key!r:.80}, which is unknown")
        return found

    def _count(self, what: str) -> int:
        count = int(self._scalar("Q", what))
        if count > MOST_ENTRIES:
            raise self._wrong(f"has {count} {what!s:.80}, more than can be")
        return count

    def _length(self, what: str) -> int:
        end = self._at + 8
        if end > len(self._data):
            raise self._cut(what)
        (length,) = _COUNT.unpack_from(self._data, self._at)
        self._at = end
        return int(length)

    def _string(self, what: str) -> str:
        return self._bytes(self._length(what), what).decode("utf-8", "replace")

    def _scalar(self, code: str, what: str) -> Any:
        (value,) = struct.unpack("<" + code, self._bytes(struct.calcsize("<" + code), what))
        return value

    def _bytes(self, size: int, what: str) -> bytes:
        begin = self._at
        self._skip(size, what)
        return self._data[begin : self._at]

    def _skip(self, size: int, what: str) -> None:
        if self._at + size > len(self._data):
            raise self._cut(what)
        self._at += size

    def _cut(self, what: str) -> ModelFileError:
        return self._wrong(f"is cut off in its head, at {what!s:.80}")

    def _wrong(self, problem: str) -> ModelFileError:
        return ModelFileError(str(self._path), problem, _ADVICE)


def _check_figures(found: Gguf) -> None:
    """That the architecture's figures can be. Raises `ModelFileError` naming file and key."""
    if not found.architecture:
        raise ModelFileError(f"{found.path}: general.architecture", "is missing", "is it a language model?")
    for name in _FIGURES:
        key = f"{found.architecture}.{name}"
        value = found.values.get(key)
        if type(value) is not int or not 1 <= value <= (_MOST_LAYERS if name == "block_count" else MOST_ENTRIES):
            raise ModelFileError(f"{found.path}: {key}", f"{value!r:.40} cannot be")
    words, embedding = found.values.get("tokenizer.ggml.tokens"), found.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.dimensions) != 2 or embedding.dimensions[1] != words:
        shape = None if embedding is None else embedding.dimensions
        raise ModelFileError(f"{found.path}: token_embd.weight", f"has shape {shape}, there are {words} tokens")
