"""Makes a folder of seeded weights as a checkpoint: config.json and one safetensors file, in layers and aligned.

A layer's tensors follow each other, and the first one starts on a page: so one read takes a layer, also past the page
cache. Files by other writers need not be like that; they are read all the same.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.weights import random_weights, tensor_shapes
from perfguard_suites.weight_streaming.config import DTYPES
from perfguard_suites.weight_streaming.headers import NAMES
from perfguard_suites.weight_streaming.quantising import SCALE, quantise_rows

PAGE = 4096
FILE = "model.safetensors"


def make_folder(
    folder: Path, config: ModelConfig, seed: int = 0, *, dtype: str = "float32", quantised: bool = False
) -> Path:
    """Write seeded weights of `config` into `folder`, synced to the disk; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hugging_face_config(config)), encoding="utf-8")
    stored = DTYPES[dtype]
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    for name, shape in _in_layers(config):
        quantise = quantised and is_quantised(name, shape)
        shapes[name] = (torch.int8 if quantise else stored, shape)
        if quantise:
            shapes[name + SCALE] = (torch.float32, shape[:1])
    with (folder / FILE).open("wb") as file:
        file.write(_header(shapes))
        for name, shape in _in_layers(config):
            tensor = random_weights(config, seed, dtype=stored, names=[name])[name]
            parts = quantise_rows(tensor) if quantised and is_quantised(name, shape) else (tensor,)
            for part in parts:
                file.write(memoryview(part.contiguous().view(torch.uint8).numpy()))  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())  # dirty pages cannot be dropped from the page cache
    return folder


def is_quantised(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this name is stored in int8 where weights are quantised: a layer's linear modules."""
    return name.startswith("model.layers.") and len(shape) == 2


def hugging_face_config(config: ModelConfig) -> Mapping[str, object]:
    """What config.json says of this model."""
    return {
        "model_type": "llama",
        "hidden_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate,
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied,
    }


def _in_layers(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The layers first, in order, so that they start on a page; what is not streamed at the end."""
    shapes = tensor_shapes(config)
    yield from ((name, shape) for name, shape in shapes.items() if name.startswith("model.layers."))
    yield from ((name, shape) for name, shape in shapes.items() if not name.startswith("model.layers."))


def _header(shapes: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> bytes:
    entries, at = {}, 0
    for name, (dtype, shape) in shapes.items():
        size_bytes = dtype.itemsize * int(torch.Size(shape).numel())
        entries[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [at, at + size_bytes]}
        at += size_bytes
    text = json.dumps(entries).encode()
    text += b" " * (-(len(text) + 8) % PAGE)  # the format allows spaces at the end
    return struct.pack("<Q", len(text)) + text


def resident_weights(folder: Path, config: ModelConfig, *, dtype: str = "float32") -> Mapping[str, Tensor]:
    """Every weight of a folder in memory of its own, not of the mapped file; a quantised one's dequantised."""
    from safetensors.torch import load_file

    from perfguard_suites.weight_streaming.quantising import dequantised

    loaded: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        loaded |= load_file(file)
    wanted = tensor_shapes(config)
    return {name: dequantised(loaded, name, DTYPES[dtype]).clone() for name in wanted}
