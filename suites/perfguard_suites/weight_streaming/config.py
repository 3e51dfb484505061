"""How weights are streamed, as data: what is kept, how far ahead is read, by whom, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.weight_streaming.errors import StreamingConfigError

PolicyName = Literal["lookahead", "belady", "lru", "resident", "adaptive"]
POLICIES: tuple[PolicyName, ...] = ("lookahead", "belady", "lru", "resident", "adaptive")
Reading = Literal["read", "map"]
DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
MAX_SLOTS = 4096


@dataclass(frozen=True, slots=True)
class StreamingConfig:
    """Raises `StreamingConfigError` naming the field that cannot be.

    max_cached_layers  layers kept ready to compute with; `resident` keeps exactly these for good.
    prefetch_distance  layers that are read ahead of the one computed with; `adaptive` starts there.
    buffers            places besides, into which layers are read; in all, `max_cached_layers + buffers` layers have
                       memory, and never more.
    reader_threads     threads that read, one layer each.
    dtype              of the weights in the file, and of the arithmetic.
    quantise           the file holds int8 weights with a scale per row, dequantised where they are computed with.
    direct_io          O_DIRECT: past the page cache, straight from the disk.
    policy             which layer is read next, and which gives way: see `policy`.
    reading            `read`: copied from the file into memory of our own; `map`: computed with in the page cache,
                       whose pages a reader maps ahead. Nobody may cut off a mapped file: the system answers with a
                       signal (SIGBUS), not an error.
    drop_cache         what has been read is dropped from the page cache, so that each read comes from the disk.
    reader_cpus        CPUs of the readers, the caller's own by default.
    stall_limit_s      a layer that takes longer than this raises `ReadStalled`.
    """

    max_cached_layers: int = 4
    prefetch_distance: int = 2
    buffers: int = 2
    reader_threads: int = 1
    dtype: str = "float32"
    quantise: bool = False
    direct_io: bool = False
    policy: PolicyName = "lookahead"
    reading: Reading = "read"
    drop_cache: bool = False
    reader_cpus: tuple[int, ...] = ()
    stall_limit_s: float = 60.0

    def __post_init__(self) -> None:
        for name, least in (
            ("max_cached_layers", 0),
            ("prefetch_distance", 0),
            ("buffers", 1),
            ("reader_threads", 1),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= MAX_SLOTS:
                raise _wrong(name, value, f"a whole number from {least} to {MAX_SLOTS}")
        for name in ("quantise", "direct_io", "drop_cache"):
            if type(getattr(self, name)) is not bool:
                raise _wrong(name, getattr(self, name), "True or False")
        if self.dtype not in DTYPES:
            raise _wrong("dtype", self.dtype, f"one of {', '.join(DTYPES)}")
        if self.policy not in POLICIES:
            raise _wrong("policy", self.policy, f"one of {', '.join(POLICIES)}")
        if self.reading not in ("read", "map"):
            raise _wrong("reading", self.reading, "'read' or 'map'")
        if not self.stall_limit_s > 0:
            raise _wrong("stall_limit_s", self.stall_limit_s, "seconds, more than 0")
        if self.reading == "map" and self.direct_io:
            raise _wrong("direct_io", True, "a mapped file lies in the page cache: take reading='read'")
        if self.prefetch_distance > self.most_ahead:
            raise StreamingConfigError(
                "streaming: prefetch_distance",
                f"{self.prefetch_distance} layers ahead do not fit into the {self.streamed_slots} places of "
                f"max_cached_layers={self.max_cached_layers}, buffers={self.buffers} under policy {self.policy!r}",
                f"at most {self.most_ahead}, since one place holds the layer computed with; or more buffers",
            )

    @property
    def slots(self) -> int:
        """Layers that have memory at the same time, at most."""
        return self.max_cached_layers + self.buffers

    @property
    def streamed_slots(self) -> int:
        """Those of them that layers come into and leave again."""
        return self.buffers if self.policy == "resident" else self.slots

    @property
    def most_ahead(self) -> int:
        """The largest prefetch distance that has room beside the layer computed with."""
        return self.streamed_slots if self.policy == "resident" else self.streamed_slots - 1

    def described(self) -> dict[str, Any]:
        """All fields by name, for results."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _wrong(name: str, value: object, wanted: str) -> StreamingConfigError:
    return StreamingConfigError(f"streaming: {name}", f"{value!r:.60} cannot be", wanted)


def _layers_of(name: str, layers: int, hidden: int, heads: int, kv_heads: int, wide: int) -> ModelConfig:
    return ModelConfig(name, hidden, layers, heads, kv_heads, hidden // heads, wide, 512, 4096)


# Named by a layer's bytes in float32. The vocabulary is small: embedding and head are never streamed.
MODELS: Mapping[str, ModelConfig] = {
    model.name: model
    for model in (
        _layers_of("tiny", 6, 64, 4, 2, 160),
        _layers_of("2MiB", 32, 256, 4, 2, 424),
        _layers_of("32MiB", 16, 1024, 16, 4, 1880),
        _layers_of("256MiB", 16, 4096, 32, 8, 2048),
    )
}


def model_of(name: str) -> ModelConfig:
    """The model of that name. Raises `StreamingConfigError`."""
    found = MODELS.get(name)
    if found is None:
        raise StreamingConfigError(f"model {name!r:.60}", "is unknown", f"one of {', '.join(MODELS)}")
    return found
