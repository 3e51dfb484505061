"""The same model under Hugging Face accelerate: its weights on disk or in host memory, brought by hooks when needed.

Embedding, final norm and head stay in memory as they do here, and the layers compute with the same arithmetic; a hook
brings all of a layer's weights at once. On disk they are read from the checkpoint's own safetensors file, as
transformers has accelerate do it, rather than from copies.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from perfguard_suites.split_rpc import arithmetic
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.model import KeyValueCache, LayerArithmetic
from perfguard_suites.split_rpc.weights import EMBEDDING, FINAL_NORM, Weights, head_weight
from perfguard_suites.weight_streaming.config import DTYPES
from perfguard_suites.weight_streaming.headers import read_header


def available() -> bool:
    """Whether accelerate is installed: it is no dependency of the suites."""
    return importlib.util.find_spec("accelerate") is not None


class _Weight(nn.Module):
    """One weight under its checkpoint name."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape, dtype=dtype, device="meta"), requires_grad=False)


class OffloadedLayer(nn.Module):
    """A decoder layer whose parameters are there while it runs."""

    def __init__(
        self, number: int, config: ModelConfig, dtype: torch.dtype, shapes: dict[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.number = number
        self.config = config
        for name, shape in shapes.items():
            parent: nn.Module = self
            *parts, leaf, _ = name.split(".")
            for part in parts:
                if not hasattr(parent, part):
                    parent.add_module(part, nn.Module())
                parent = getattr(parent, part)
            parent.add_module(leaf, _Weight(shape, dtype))

    def forward(self, hidden: Tensor, cache: KeyValueCache, tables: tuple[Tensor, Tensor]) -> Tensor:
        """Hidden states (tokens, hidden) in and out, at the first positions."""
        prefix = f"model.layers.{self.number}."
        weights = {prefix + name: tensor for name, tensor in self.named_parameters()}
        return LayerArithmetic(self.config, weights, *tables).layer(self.number, hidden, cache, 0)


class OffloadedModel:
    """`passes(count)` over the same ids. Raises what accelerate raises."""

    def __init__(self, folder: Path, config: ModelConfig, stays: Weights, ids: Tensor, dtype: str, device: str) -> None:
        self.config = config
        self.ids = ids.to(device)
        self.stays = {name: tensor.to(device) for name, tensor in stays.items()}
        self.root = nn.Module()
        self.root.model = nn.Module()
        stored = read_all(folder)
        layers = []
        for number in range(config.layers):
            prefix = f"model.layers.{number}."
            shapes = {name[len(prefix) :]: stored[name].shape for name in stored if name.startswith(prefix)}
            layers.append(OffloadedLayer(number, config, DTYPES[dtype], shapes))
        self.layers = nn.ModuleList(layers)
        self.root.model.layers = self.layers
        tables = [table.to(device=device, dtype=DTYPES[dtype]) for table in arithmetic.rotary_tables(config, len(ids))]
        self._tables = (tables[0], tables[1])
        self._cache = KeyValueCache(config, len(ids), DTYPES[dtype], device)

    @torch.inference_mode()
    def passes(self, count: int) -> Tensor:
        """`count` passes, each from position 0; the last one's logits."""
        for _ in range(count):
            hidden = self.stays[EMBEDDING][self.ids]
            for layer in self.layers:
                hidden = layer(hidden, self._cache, self._tables)
            last = arithmetic.rms_norm(hidden[-1:], self.stays[FINAL_NORM], self.config.norm_eps)
            logits = functional.linear(last, self.stays[head_weight(self.config)]).cpu()
        return logits


@contextlib.contextmanager
def on_disk(
    folder: Path, config: ModelConfig, stays: Weights, ids: Tensor, dtype: str, device: str = "cpu"
) -> Iterator[Callable[[int], Tensor]]:
    """Accelerate's disk offload, read from the folder's own files."""
    import accelerate

    model = OffloadedModel(folder, config, stays, ids, dtype, device)
    with tempfile.TemporaryDirectory(prefix="perfguard-offload-") as place:
        index = {
            name: {"safetensors_file": str(tensor.path), "weight_name": name, "dtype": dtype}
            for name, tensor in read_all(folder).items()
            if name.startswith("model.layers.")
        }
        (Path(place) / "index.json").write_text(json.dumps(index), encoding="utf-8")
        accelerate.disk_offload(
            model.root, place, execution_device=torch.device(device), preload_module_classes=[OffloadedLayer.__name__]
        )
        yield model.passes


@contextlib.contextmanager
def in_host_memory(
    folder: Path, config: ModelConfig, stays: Weights, ids: Tensor, dtype: str, device: str
) -> Iterator[Callable[[int], Tensor]]:
    """Accelerate's CPU offload: weights in (pageable) host memory, copied to the device for each layer."""
    import accelerate
    from safetensors.torch import load_file

    model = OffloadedModel(folder, config, stays, ids, dtype, device)
    state: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= {name: tensor.clone() for name, tensor in load_file(file).items() if name.startswith("model.layers.")}
    accelerate.cpu_offload(
        model.root,
        execution_device=torch.device(device),
        state_dict=state,
        preload_module_classes=[OffloadedLayer.__name__],
    )
    yield model.passes


def read_all(folder: Path) -> dict[str, Any]:
    """Every stored tensor of a folder, by name."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in read_header(file).items()}
