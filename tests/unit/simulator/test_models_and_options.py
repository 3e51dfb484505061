"""Models and options: presets have the sizes that were published, and what cannot be is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perfguard_suites.simulator.config import Parallelism, Request, SimulationConfig, load_scenario
from perfguard_suites.simulator.errors import ConfigurationError, ModelError
from perfguard_suites.simulator.model_files import from_hugging_face, load_model
from perfguard_suites.simulator.models import PRESETS, ModelShape, model_of

# What the checkpoints on Hugging Face, or the papers, say of their own size, biases and learned positions aside.
PUBLISHED = {
    "llama-3.2-1b": 1_235_814_400,
    "llama-2-7b": 6_738_415_616,
    "yi-34b": 34_388_917_248,
    "gpt-3-175b": 175e9,
    "deepseek-v3": 671e9,
}

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
DEEPSEEK = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_published_size(name: str) -> None:
    """Parameters, counted from the shape: exactly where the checkpoint says so, within 0.5 % where a paper rounds."""
    exact = isinstance(PUBLISHED[name], int)
    assert model_of(name).parameters == pytest.approx(PUBLISHED[name], rel=0 if exact else 5e-3)
    assert model_of(name).source


@pytest.mark.parametrize(("raw", "preset"), [(LLAMA, "llama-2-7b"), (DEEPSEEK, "deepseek-v3")])
def test_a_config_json_gives_the_preset_it_is_of(tmp_path: Path, raw: dict[str, Any], preset: str) -> None:
    """Published keys of config.json, dense and mixture with latent attention, give the same shape."""
    (tmp_path / "config.json").write_text(json.dumps(raw))
    found, known = load_model(tmp_path), model_of(preset)
    assert found.parameters == known.parameters
    assert (found.mla, found.moe, found.attention) == (known.mla, known.moe, known.attention)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_attention_heads": 33}, "num_attention_heads: 33 heads do not divide hidden_size 4096"),
        ({"num_key_value_heads": 5}, "32 heads do not share 5"),
        ({"hidden_size": None}, "hidden_size: is missing"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers: 'many' is not an integer"),
        ({"vocab_size": -1}, "vocabulary: -1 is not in"),
        ({"model_type": "rnn"}, "model_type: 'rnn' is not known"),
        ({"num_local_experts": 4, "num_experts_per_tok": 5}, "5 of 4 experts"),
    ],
)
def test_a_config_json_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    """The error names the key and what is wrong with it."""
    with pytest.raises(ModelError, match=words):
        from_hugging_face(LLAMA | change, "made", "config.json")


def test_a_model_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Unknown presets, missing files and files that are no JSON each say so."""
    with pytest.raises(ModelError, match=r"one of llama-3\.2-1b"):
        load_model("llama-9")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(tmp_path / "none.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        load_model(tmp_path)


def test_fewer_layers_are_the_first_ones() -> None:
    """A mixture cut to its first layers keeps its dense ones first."""
    cut = model_of("deepseek-v3").first_layers(2)
    assert (cut.layers, cut.dense_layers) == (2, 2)
    assert model_of("deepseek-v3").first_layers(5).dense_layers == 3
    with pytest.raises(ModelError, match="62"):
        model_of("deepseek-v3").first_layers(62)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (SimulationConfig, {"max_simulated_tokens": 0}, "max_simulated_tokens: 0 is not in 1"),
        (SimulationConfig, {"max_simulated_tokens": True}, "True is not an integer"),
        (SimulationConfig, {"evaluation_granularity": "medium"}, "'fine' or 'coarse'"),
        (SimulationConfig, {"enable_overlap": 1}, "enable_overlap: 1 is not true or false"),
        (Request, {"prompt_tokens": 0}, "prompt_tokens: 0 is not in 1"),
        (Request, {"dtype": "int3"}, "dtype: 'int3' is unknown"),
        (Parallelism, {"tensor": -2}, "tensor: -2 is not in 1"),
    ],
)
def test_an_option_that_cannot_be_is_refused(kind: type, options: dict[str, Any], words: str) -> None:
    """The error names the option."""
    with pytest.raises(ConfigurationError, match=words):
        kind(**options)


def test_a_scenario_comes_from_toml(tmp_path: Path) -> None:
    """Tables set what they name and leave the rest; unknown and impossible keys are refused with file and key."""
    path = tmp_path / "scenario.toml"
    path.write_text(
        'model = "llama-2-7b"\nlayers = 4\n[simulation]\nevaluation_granularity = "coarse"\n[request]\nbatch = 3\n'
    )
    found = load_scenario(path)
    assert (found.model, found.hardware, found.layers, found.request.batch) == ("llama-2-7b", "h100", 4, 3)
    assert found.config == SimulationConfig(evaluation_granularity="coarse")
    for text, words in (
        ("[simulation]\nprecise = true", r"scenario\.toml: simulation\.precise: is unknown"),
        ("[request]\nbatch = 0", r"scenario\.toml: request\.batch: 0 is not in"),
        ("hardwares = 1", r"scenario\.toml: hardwares: is unknown"),
        ("layers = -1", "layers: -1"),
        ("request = 3", "request: is not a table"),
        ("= 1", "is not TOML"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=words):
            load_scenario(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_scenario(tmp_path / "none.toml")


def test_simulated_steps_are_spread_over_a_long_answer() -> None:
    """All steps of a short answer; of a long one, as many as asked for, first and last among them."""
    assert Request(output_tokens=4).decode_positions(4) == [0, 1, 2, 3]
    assert Request(output_tokens=1000).decode_positions(4) == [0, 333, 666, 999]
    assert Request(output_tokens=1000).decode_positions(1) == [500]


def test_kinds_of_attention_are_told_apart() -> None:
    """By how many heads share keys and values, or by the latent."""
    kinds = {name: model_of(name).attention for name in PRESETS}
    assert kinds["llama-2-7b"] == kinds["gpt-3-175b"] == "MHA"
    assert kinds["yi-34b"] == kinds["llama-3.2-1b"] == "GQA"
    assert kinds["deepseek-v3"] == "MLA"
    assert ModelShape("one", 64, 1, 4, 1, 16, 64, 64, 64).attention == "MQA"
