"""A model's shape from the config.json of a Hugging Face checkpoint: each figure checked, each refusal with its key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfguard_suites.config_json import Figures, read_config
from perfguard_suites.simulator.errors import ModelError
from perfguard_suites.simulator.models import Mla, ModelShape, Moe, model_of

GATED = frozenset(
    {
        "llama",
        "mistral",
        "mixtral",
        "qwen2",
        "qwen3",
        "qwen2_moe",
        "qwen3_moe",
        "Yi",
        "gemma",
        "deepseek_v2",
        "deepseek_v3",
    }
)
NOT_GATED = frozenset({"gpt2", "gpt_neox", "opt"})
ROUTED = ("n_routed_experts", "num_local_experts", "num_experts")


def load_model(name_or_path: str | Path) -> ModelShape:
    """A preset, or the shape in a config.json (or in the folder that holds one). Raises `ModelError`."""
    path = Path(name_or_path)
    if path.is_dir():
        path /= "config.json"
    elif path.suffix != ".json" and not path.is_file():
        return model_of(str(name_or_path))
    raw = read_config(path, ModelError)
    return from_hugging_face(raw, path.parent.name or path.stem, str(path))


def from_hugging_face(raw: Mapping[str, Any], name: str, source: str) -> ModelShape:
    """The shape in the keys of a config.json. Raises `ModelError` naming source and key."""
    kind = raw.get("model_type")
    if kind not in GATED | NOT_GATED:
        raise ModelError(
            f"{source}: model_type", f"{kind!r:.60} is not known", f"one of {', '.join(sorted(GATED | NOT_GATED))}"
        )
    reader = Figures(raw, source, ModelError)
    hidden = reader.integer("hidden_size", "n_embd")
    heads = reader.integer("num_attention_heads", "n_head")
    if "head_dim" not in raw and heads > 0 and hidden % heads:
        raise ModelError(
            f"{source}: num_attention_heads", f"{heads} heads do not divide hidden_size {hidden}", "or give head_dim"
        )
    return ModelShape(
        name=name,
        hidden=hidden,
        layers=reader.integer("num_hidden_layers", "n_layer"),
        heads=heads,
        kv_heads=reader.integer("num_key_value_heads", default=heads),
        head_dim=reader.integer("head_dim", default=hidden // max(heads, 1)),
        intermediate=reader.integer("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden),
        vocabulary=reader.integer("vocab_size"),
        max_positions=reader.integer("max_position_embeddings", "n_positions"),
        gated=kind in GATED,
        tied=bool(raw.get("tie_word_embeddings", kind in ("gpt2", "gemma", "opt"))),
        mla=_mla(reader) if raw.get("kv_lora_rank") is not None else None,
        moe=_moe(reader) if any(raw.get(key) for key in ROUTED) else None,
        source=source,
    )


def _mla(reader: Figures) -> Mla:
    return Mla(
        reader.integer("q_lora_rank", default=0),
        reader.integer("kv_lora_rank"),
        reader.integer("qk_nope_head_dim"),
        reader.integer("qk_rope_head_dim"),
        reader.integer("v_head_dim"),
    )


def _moe(reader: Figures) -> Moe:
    return Moe(
        experts=reader.integer(*ROUTED),
        top_k=reader.integer("num_experts_per_tok"),
        intermediate=reader.integer("moe_intermediate_size", "intermediate_size"),
        shared=reader.integer("n_shared_experts", default=0),
        dense_layers=reader.integer("first_k_dense_replace", default=0),
    )
