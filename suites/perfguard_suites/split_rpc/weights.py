"""The weights of a model: which tensors there are, seeded random ones, or those of a checkpoint folder.

A tensor's random values depend on the seed and its own name only, so that each process can make its own share.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from perfguard_suites.config_json import MAX_FILE_BYTES
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
MODULES = (*ATTENTION, *FEED_FORWARD)

Weights = Mapping[str, "Tensor"]


def module_weight(layer: int, module: str) -> str:
    """The checkpoint's name of a linear module's weight."""
    return f"model.layers.{layer}.{'self_attn' if module in ATTENTION else 'mlp'}.{module}.weight"


def norm_weight(layer: int, which: str) -> str:
    """The checkpoint's name of a norm's weight: `input` or `post_attention`."""
    return f"model.layers.{layer}.{which}_layernorm.weight"


def head_weight(config: ModelConfig) -> str:
    """The checkpoint's name of the head's weight: a tied one is the embedding's."""
    return EMBEDDING if config.tied else HEAD


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor; linear weights are (outputs, inputs). A tied head has no tensor of its own."""
    hidden, wide = config.hidden, config.intermediate
    modules = {
        "q_proj": (config.query_width, hidden),
        "k_proj": (config.kv_width, hidden),
        "v_proj": (config.kv_width, hidden),
        "o_proj": (hidden, config.query_width),
        "gate_proj": (wide, hidden),
        "up_proj": (wide, hidden),
        "down_proj": (hidden, wide),
    }
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocabulary, hidden), FINAL_NORM: (hidden,)}
    for layer in range(config.layers):
        shapes |= {module_weight(layer, module): shape for module, shape in modules.items()}
        shapes |= {norm_weight(layer, which): (hidden,) for which in ("input", "post_attention")}
    if not config.tied:
        shapes[HEAD] = (config.vocabulary, hidden)
    return shapes


def trusted_names(config: ModelConfig, *, embedding: bool) -> tuple[str, ...]:
    """What the trusted process needs: the norms, and the embedding where it looks tokens up itself."""
    norms = [norm_weight(layer, which) for layer in range(config.layers) for which in ("input", "post_attention")]
    return (*norms, FINAL_NORM, *((EMBEDDING,) if embedding else ()))


def random_weights(
    config: ModelConfig, seed: int, *, dtype: torch.dtype = torch.float32, names: Iterable[str] | None = None
) -> Weights:
    """Seeded weights that keep activations near unit size; norms near 1. All tensors, or those named."""
    shapes = tensor_shapes(config)
    return MappingProxyType(
        {name: _random(name, shapes[name], seed, dtype) for name in (shapes if names is None else names)}
    )


def _random(name: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))  # 32 bits are all that it takes
    values = torch.randn(shape, generator=generator, dtype=torch.float32)
    if len(shape) == 1:
        return values.mul_(0.1).add_(1.0).to(dtype)
    return values.mul_(1.0 if name == EMBEDDING else shape[1] ** -0.5).to(dtype)


def load_checkpoint(
    folder: Path, config: ModelConfig, *, dtype: torch.dtype = torch.float32, names: Iterable[str] | None = None
) -> Weights:
    """The named tensors (all by default) of a folder with `*.safetensors`, checked against the configuration.

    Raises `CheckpointError` naming every tensor that is missing, and each that has another shape than the
    configuration says.
    """
    wanted = tensor_shapes(config)
    if names is not None:
        wanted = {name: wanted[name] for name in names}
    homes = _homes(folder)
    missing = [name for name in wanted if name not in homes]
    if missing:
        raise CheckpointError(
            str(folder),
            f"{len(missing)} tensors are missing: {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}",
            "is the checkpoint complete, and is its config.json its own?",
        )
    loaded: dict[str, Tensor] = {}
    for file in sorted({homes[name] for name in wanted}):
        loaded |= _read(file, {name: shape for name, shape in wanted.items() if homes[name] == file}, dtype)
    return MappingProxyType(loaded)


def _homes(folder: Path) -> dict[str, Path]:
    """Which file holds which tensor, from the index or from the files' own headers."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _indexed(folder, index)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(str(folder), "holds no *.safetensors", "give the folder of a Hugging Face checkpoint")
    return {name: file for file in files for name in _names(file)}


def _indexed(folder: Path, index: Path) -> dict[str, Path]:
    try:
        if index.stat().st_size > 64 * MAX_FILE_BYTES:
            raise CheckpointError(str(index), "is too large for an index")
        listed: Any = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        homes = {str(name): folder / Path(file).name for name, file in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(str(index), f"is no index of tensors: {error!r:.200}") from error
    for file in sorted(set(homes.values())):
        if not file.is_file():
            raise CheckpointError(str(file), "is named in the index, but missing", "download the checkpoint again")
    return homes


def _names(file: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as reader:
            return list(reader.keys())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(str(file), f"cannot be read: {error}", "download the checkpoint again") from error


def _read(file: Path, wanted: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    loaded = {}
    try:
        with safe_open(file, framework="pt") as reader:
            for name, shape in wanted.items():
                found = tuple(reader.get_slice(name).get_shape())
                if found != shape:
                    raise CheckpointError(
                        f"{file}: {name}",
                        f"has shape {found}, the configuration says {shape}",
                        "is config.json of this checkpoint?",
                    )
                loaded[name] = reader.get_tensor(name).to(dtype)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(str(file), f"cannot be read: {error}", "download the checkpoint again") from error
    return loaded
