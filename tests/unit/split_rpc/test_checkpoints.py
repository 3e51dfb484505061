"""Checkpoint folders: read as they are, and refused by name where they are not what their configuration says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from perfguard_suites.split_rpc.config import ModelConfig, config_of, from_checkpoint, from_hugging_face
from perfguard_suites.split_rpc.errors import CheckpointError, ConfigurationError
from perfguard_suites.split_rpc.weights import load_checkpoint, random_weights

FIELDS = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 160,
    "vocab_size": 256,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A complete checkpoint of the tiny model, sharded with an index."""
    weights = dict(random_weights(config_of("tiny"), seed=2))
    (tmp_path / "config.json").write_text(json.dumps(FIELDS))
    homes = {name: f"model-{index % 2}.safetensors" for index, name in enumerate(weights)}
    for file in set(homes.values()):
        save_file({name: weights[name] for name, home in homes.items() if home == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    return tmp_path


def test_a_folder_gives_its_configuration_and_its_weights(checkpoint: Path) -> None:
    """Written, then read: every tensor bit by bit, with the index and without it."""
    config = from_checkpoint(checkpoint)
    expected = random_weights(config_of("tiny"), seed=2)
    for _ in range(2):
        found = load_checkpoint(checkpoint, config)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        (checkpoint / "model.safetensors.index.json").unlink(missing_ok=True)


def test_missing_tensors_are_named(checkpoint: Path) -> None:
    """A checkpoint of two layers is not one of three: the error says which tensors are wanting."""
    config = from_checkpoint(checkpoint)
    wanted = ModelConfig(**{**{f: getattr(config, f) for f in config.__slots__}, "layers": 3})
    with pytest.raises(CheckpointError, match=r"9 tensors are missing: model\.layers\.2"):
        load_checkpoint(checkpoint, wanted)


def test_an_ill_shaped_tensor_is_named_with_both_shapes(checkpoint: Path) -> None:
    """Weights that do not fit the configuration are an error before anything is computed."""
    config = from_checkpoint(checkpoint)
    wanted = ModelConfig(**{**{f: getattr(config, f) for f in config.__slots__}, "intermediate": 161})
    with pytest.raises(CheckpointError, match=r"_proj\.weight: has shape .*160.* the configuration says .*161"):
        load_checkpoint(checkpoint, wanted)


def test_a_truncated_file_and_a_missing_shard_are_named(checkpoint: Path) -> None:
    """Half a download is an error with the file's name."""
    config = from_checkpoint(checkpoint)
    shard = checkpoint / "model-1.safetensors"
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"model-1\.safetensors: cannot be read"):
        load_checkpoint(checkpoint, config)
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"model-1\.safetensors: is named in the index"):
        load_checkpoint(checkpoint, config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mistral"}, "model_type"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_size": 0}, "hidden"),
        ({"num_key_value_heads": 3}, "kv_heads"),
        ({"rms_norm_eps": None}, "rms_norm_eps"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type"),
        ({"head_dim": 15}, "head_dim"),
    ],
)
def test_a_configuration_that_cannot_be_names_its_key(change: dict[str, object], message: str) -> None:
    """Each field is checked where it is read."""
    with pytest.raises(ConfigurationError, match=message):
        from_hugging_face({**FIELDS, **change}, "test", "config.json")


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_config_file_that_is_none(tmp_path: Path, text: str) -> None:
    """Garbage instead of config.json, or nothing at all."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        from_checkpoint(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        from_checkpoint(tmp_path / "nowhere")
