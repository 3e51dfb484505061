"""A checkpoint's layers as reads: which bytes of which file go where in a layer's memory, and the reading itself.

Buffered reads put every tensor on a cache line of its own, wherever it lies in the file; reads past the page cache
take whole blocks, so that tensors keep the alignment that the file gives them. Reading releases the GIL.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.weights import tensor_shapes
from perfguard_suites.weight_streaming.config import DTYPES, StreamingConfig
from perfguard_suites.weight_streaming.errors import ReadFailed, StreamingConfigError, WeightsChanged, WeightsFileError
from perfguard_suites.weight_streaming.headers import StoredTensor, read_header
from perfguard_suites.weight_streaming.making import is_quantised
from perfguard_suites.weight_streaming.quantising import SCALE

LINE = 64
BLOCK = 4096  # what O_DIRECT asks of offsets, sizes and memory, on any disk of today
CHUNK = 8 << 20  # bytes per system call: a reader that is told to stop does so after one


@dataclass(frozen=True, slots=True)
class Request:
    """One `preadv`: consecutive bytes of a file into stretches (begin, end) of a layer's memory."""

    file: int
    offset: int
    stretches: tuple[tuple[int, int], ...]
    wanted: int  # bytes that are needed: the last block of a file may be short


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor in a layer's memory."""

    name: str
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """How one layer is read. `size_bytes` of memory, of which `weight_bytes` are weights."""

    requests: tuple[Request, ...]
    tensors: tuple[Placed, ...]
    stored: tuple[StoredTensor, ...]
    size_bytes: int
    weight_bytes: int


class LayerStore:
    """The layers of a folder, opened for reading. Raises `WeightsFileError` naming what is wrong with it.

    `close` closes the files; idempotent.
    """

    def __init__(self, folder: Path, model: ModelConfig, streaming: StreamingConfig) -> None:
        self.folder = folder
        self.model = model
        self._direct = streaming.direct_io
        self.drops = streaming.drop_cache
        self.paths, stored = _checked(folder, model, streaming)
        self.descriptors: list[int] = []
        try:
            for path in self.paths:
                self.descriptors.append(_open(path, direct=self._direct))
            self._stamps = [_stamp(descriptor) for descriptor in self.descriptors]
            index = {path: number for number, path in enumerate(self.paths)}
            plan = _direct_plan if self._direct else _buffered_plan
            self.plans: tuple[LayerPlan, ...] = tuple(plan(layer, index) for layer in stored)
        except BaseException:
            self.close()
            raise
        self.slot_bytes = max(plan.size_bytes for plan in self.plans)
        self.layer_bytes = max(plan.weight_bytes for plan in self.plans)
        self.model_bytes = sum(plan.weight_bytes for plan in self.plans)

    def read(self, layer: int, memory: memoryview, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Read a layer into its memory; False if `stopped`, which is asked between system calls, says so.

        Raises `ReadFailed` and `WeightsFileError`.
        """
        for request in self.plans[layer].requests:
            if stopped():
                return False
            self._take(layer, request, memory)
        if self.drops:
            self.drop(layer)
        return True

    def check(self) -> None:
        """Raises `WeightsChanged` if a file was written to since it was opened."""
        for descriptor, stamp, path in zip(self.descriptors, self._stamps, self.paths, strict=True):
            if _stamp(descriptor) != stamp:
                raise WeightsChanged(
                    str(path),
                    "was changed while its layers were streamed",
                    "write a new file and rename it over this one; open the model again",
                )

    def drop(self, layer: int) -> None:
        """Drop a layer's pages from the page cache; dirty and mapped ones stay."""
        for tensor in self.plans[layer].stored:
            descriptor = self.descriptors[self.paths.index(tensor.path)]
            begin = tensor.offset // BLOCK * BLOCK
            end = -(-(tensor.offset + tensor.size_bytes) // BLOCK) * BLOCK
            os.posix_fadvise(descriptor, begin, end - begin, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close the files."""
        while self.descriptors:
            os.close(self.descriptors.pop())

    def _take(self, layer: int, request: Request, memory: memoryview) -> None:
        descriptor, done = self.descriptors[request.file], 0
        left = [memory[begin:end] for begin, end in request.stretches]
        while done < request.wanted:
            try:
                got = os.preadv(descriptor, left, request.offset + done)
            except OSError as error:
                raise ReadFailed(
                    f"layer {layer}: {self.paths[request.file]}",
                    f"reading at byte {request.offset + done}: {error}",
                    "is its disk well? see dmesg",
                ) from error
            if got == 0:
                raise WeightsFileError(
                    f"layer {layer}: {self.paths[request.file]}",
                    f"ends at byte {request.offset + done}, it was longer when it was opened",
                    "download or make the file again",
                )
            done += got
            left = _rest(left, got)


def _rest(views: list[memoryview], got: int) -> list[memoryview]:
    """What is still to be filled."""
    left = []
    for view in views:
        if got >= len(view):
            got -= len(view)
        else:
            left.append(view[got:])
            got = 0
    return left


def _open(path: Path, *, direct: bool) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if direct else 0))
    except OSError as error:
        if direct:
            raise StreamingConfigError(
                "streaming: direct_io",
                f"{path} cannot be opened with O_DIRECT: {error}",
                "not every file system has it",
            ) from error
        raise WeightsFileError(str(path), f"cannot be opened: {error}") from error


def _stamp(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns


def _checked(
    folder: Path, model: ModelConfig, streaming: StreamingConfig
) -> tuple[tuple[Path, ...], list[list[StoredTensor]]]:
    """The files and, for each layer, its tensors: all there, with the model's shapes and the configured types."""
    files = tuple(sorted(folder.glob("*.safetensors")))
    if not files:
        raise WeightsFileError(str(folder), "holds no *.safetensors", "give a checkpoint folder, or make one")
    found: dict[str, StoredTensor] = {}
    for file in files:
        found |= read_header(file)
    layers: list[list[StoredTensor]] = [[] for _ in range(model.layers)]
    missing = []
    for name, dtype, shape in _wanted(model, streaming):
        tensor = found.get(name)
        if tensor is None:
            missing.append(name)
            continue
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            raise WeightsFileError(
                f"{tensor.path}: {name}",
                f"is {tensor.shape} of {tensor.dtype}, not {shape} of {dtype}",
                "is the configuration this checkpoint's, and its dtype and quantise the file's?",
            )
        layers[int(name.split(".")[2])].append(tensor)
    if missing:
        raise WeightsFileError(
            str(folder),
            f"{len(missing)} tensors are missing: {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}",
            "is the checkpoint complete, and the configuration its own?",
        )
    return files, layers


def _wanted(model: ModelConfig, streaming: StreamingConfig) -> Iterator[tuple[str, torch.dtype, tuple[int, ...]]]:
    for name, shape in tensor_shapes(model).items():
        if not name.startswith("model.layers."):
            continue
        quantised = streaming.quantise and is_quantised(name, shape)
        yield name, torch.int8 if quantised else DTYPES[streaming.dtype], shape
        if quantised:
            yield name + SCALE, torch.float32, shape[:1]


def _buffered_plan(stored: list[StoredTensor], index: Mapping[Path, int]) -> LayerPlan:
    """Tensors in the order of the file, each on a line of its own; one request for those that touch."""
    ordered = sorted(stored, key=lambda tensor: (index[tensor.path], tensor.offset))
    placed, at = [], 0
    requests: list[Request] = []
    run: list[tuple[StoredTensor, int]] = []
    for tensor in ordered:
        if run and (run[-1][0].path, run[-1][0].offset + run[-1][0].size_bytes) != (tensor.path, tensor.offset):
            requests += _chunked(run, index)
            run = []
        run.append((tensor, at))
        placed.append(Placed(tensor.name, at, tensor.dtype, tensor.shape))
        at += -(-tensor.size_bytes // LINE) * LINE
    requests += _chunked(run, index)
    weight_bytes = sum(tensor.size_bytes for tensor in stored)
    return LayerPlan(tuple(requests), tuple(placed), tuple(ordered), at, weight_bytes)


def _chunked(run: Sequence[tuple[StoredTensor, int]], index: Mapping[Path, int]) -> Iterator[Request]:
    """Requests of at most `CHUNK` bytes that read tensors which follow each other in a file."""
    stretches: list[tuple[int, int]] = []
    first, taken = run[0][0].offset, 0
    number = index[run[0][0].path]
    for tensor, place in run:
        done = 0
        while done < tensor.size_bytes:
            size = min(tensor.size_bytes - done, CHUNK - taken)
            begin = place + done
            if stretches and stretches[-1][1] == begin:
                stretches[-1] = (stretches[-1][0], begin + size)
            else:
                stretches.append((begin, begin + size))
            done, taken = done + size, taken + size
            if taken == CHUNK:
                yield Request(number, first, tuple(stretches), taken)
                stretches, first, taken = [], first + taken, 0
    if taken:
        yield Request(number, first, tuple(stretches), taken)


def _direct_plan(stored: list[StoredTensor], index: Mapping[Path, int]) -> LayerPlan:
    """Whole blocks around each run of tensors; a tensor lies as in its block."""
    ordered = sorted(stored, key=lambda tensor: (index[tensor.path], tensor.offset))
    placed, requests, base = [], [], 0
    runs: list[list[StoredTensor]] = []
    for tensor in ordered:
        last = runs[-1][-1] if runs else None
        if last and last.path == tensor.path and tensor.offset // BLOCK <= -(-(last.offset + last.size_bytes) // BLOCK):
            runs[-1].append(tensor)
        else:
            runs.append([tensor])
    for run in runs:
        begin = run[0].offset // BLOCK * BLOCK
        needed = run[-1].offset + run[-1].size_bytes
        end = -(-needed // BLOCK) * BLOCK
        placed += [Placed(each.name, base + each.offset - begin, each.dtype, each.shape) for each in run]
        for at in range(begin, end, CHUNK):
            until = min(at + CHUNK, end)
            stretch = (base + at - begin, base + until - begin)
            requests.append(Request(index[run[0].path], at, (stretch,), min(until, needed) - at))
        base += end - begin
    weight_bytes = sum(tensor.size_bytes for tensor in stored)
    return LayerPlan(tuple(requests), tuple(placed), tuple(ordered), base, weight_bytes)


@contextlib.contextmanager
def opened(folder: Path, model: ModelConfig, streaming: StreamingConfig) -> Iterator[LayerStore]:
    """A store that is closed at the end of the block."""
    store = LayerStore(folder, model, streaming)
    try:
        yield store
    finally:
        store.close()
