"""Small streamed models, for the rooms that test weight streaming."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.split_rpc.weights import random_weights
from perfguard_suites.weight_streaming.config import StreamingConfig, model_of
from perfguard_suites.weight_streaming.making import hugging_face_config, resident_weights
from perfguard_suites.weight_streaming.model import StreamedModel, staying_weights
from perfguard_suites.weight_streaming.streamer import Streamer

MODEL = model_of("tiny")
IDS = torch.arange(5)
SMALL: Mapping[str, Any] = {"max_cached_layers": 2, "buffers": 1, "prefetch_distance": 1}  # 3 places for 6 layers


def small(**changes: Any) -> StreamingConfig:
    """A configuration with fewer places than layers."""
    return StreamingConfig(**{**SMALL, **changes})


def resident_logits(folder: Path, ids: Tensor = IDS) -> Tensor:
    """What the model says with all its weights in memory."""
    return ReferenceModel(MODEL, resident_weights(folder, MODEL), len(ids)).forward(ids)


def streamed(folder: Path, streamer: Streamer) -> StreamedModel:
    """The model on this streamer."""
    return StreamedModel(MODEL, staying_weights(folder, MODEL, streamer.config.dtype), streamer, 16)


def sharded_folder(folder: Path) -> Path:
    """The tiny model as other writers leave it: two files, tensors in an order of their own, and not on pages."""
    from safetensors.torch import save_file

    weights = {name: tensor.clone() for name, tensor in random_weights(MODEL, 3).items()}
    names = sorted(weights)
    parts = {"model-00001.safetensors": names[::2], "model-00002.safetensors": names[1::2]}
    folder.mkdir()
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(hugging_face_config(MODEL)), encoding="utf-8")
    return folder
