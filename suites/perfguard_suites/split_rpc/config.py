"""The shape of a LLaMA-like model: every figure that its arithmetic and its traffic depend on, and where to get it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from perfguard_suites.config_json import Figures, read_config
from perfguard_suites.split_rpc.errors import ConfigurationError

MAX_EXTENT = 1 << 20


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """The `llama3` rescaling of rotary frequencies (Llama 3.1 model card; transformers, modeling_rope_utils)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_positions: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """LLaMA: RMSNorm, rotary embedding, grouped-query attention, SwiGLU. Raises `ConfigurationError` if it cannot be.

    `heads` query heads share `kv_heads` key and value heads evenly; `tied`: the head's weight is the embedding's.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    max_positions: int
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tied: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and not (type(value) is int and 1 <= value <= MAX_EXTENT):
                raise ConfigurationError(
                    f"model {self.name!r:.60}: {field.name}", f"{value!r:.60} is not in 1 .. {MAX_EXTENT}"
                )
        if self.heads % self.kv_heads:
            raise ConfigurationError(
                f"model {self.name!r:.60}: kv_heads",
                f"{self.heads} heads do not share {self.kv_heads} evenly",
                "take a divisor of heads",
            )
        if self.head_dim % 2:
            raise ConfigurationError(
                f"model {self.name!r:.60}: head_dim", f"{self.head_dim} is odd", "rotary embedding turns pairs"
            )

    @property
    def query_width(self) -> int:
        """Columns of the query projection's output."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Columns of the key or value projection's output."""
        return self.kv_heads * self.head_dim

    @property
    def groups(self) -> int:
        """Query heads per key/value head."""
        return self.heads // self.kv_heads

    @property
    def digest(self) -> str:
        """A short name of all figures together: equal on both sides, or they run different models."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


CONFIGS: Mapping[str, ModelConfig] = {
    config.name: config
    for config in (
        ModelConfig("tiny", 64, 2, 4, 2, 16, 160, 256, 256),
        # Seconds on two cores, with products that outweigh the fixed cost of its 26 to 18 calls.
        ModelConfig("small", 768, 4, 24, 6, 32, 2048, 8192, 1024),
        # config.json as published with Llama-3.2-1B.
        ModelConfig(
            "llama-1b",
            2048,
            16,
            32,
            8,
            64,
            8192,
            128256,
            131072,
            rope_theta=500000.0,
            rope_scaling=RopeScaling(32.0, 1.0, 4.0, 8192),
            tied=True,
        ),
    )
}


def config_of(name: str) -> ModelConfig:
    """The configuration of that name. Raises `ConfigurationError`."""
    found = CONFIGS.get(name)
    if found is None:
        raise ConfigurationError(f"model {name!r:.60}", "is unknown", f"one of {', '.join(CONFIGS)}")
    return found


def from_checkpoint(folder: Path) -> ModelConfig:
    """The configuration in a Hugging Face checkpoint's config.json. Raises `ConfigurationError` naming file and key."""
    path = folder / "config.json"
    raw = read_config(path, ConfigurationError)
    return from_hugging_face(raw, folder.name, str(path))


def from_hugging_face(raw: Mapping[str, Any], name: str, source: str) -> ModelConfig:
    """A configuration from the keys of config.json, of transformers 4 or 5. Raises `ConfigurationError`."""
    reader = Figures(raw, source, ConfigurationError)
    if raw.get("model_type") != "llama":
        raise ConfigurationError(f"{source}: model_type", f"{raw.get('model_type')!r:.60} is not 'llama'")
    for key in ("attention_bias", "mlp_bias"):
        if raw.get(key):
            raise ConfigurationError(f"{source}: {key}", "biases are not implemented")
    if raw.get("hidden_act", "silu") != "silu":
        raise ConfigurationError(f"{source}: hidden_act", f"{raw['hidden_act']!r:.60} is not 'silu'")
    hidden, heads = reader.integer("hidden_size"), reader.integer("num_attention_heads")
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ConfigurationError(f"{source}: rope_parameters", "is not an object")
    return ModelConfig(
        name=name,
        hidden=hidden,
        layers=reader.integer("num_hidden_layers"),
        heads=heads,
        kv_heads=reader.integer("num_key_value_heads", default=heads),
        head_dim=reader.integer("head_dim", default=hidden // max(heads, 1)),
        intermediate=reader.integer("intermediate_size"),
        vocabulary=reader.integer("vocab_size"),
        max_positions=reader.integer("max_position_embeddings"),
        norm_eps=reader.number("rms_norm_eps"),
        rope_theta=float(rope.get("rope_theta", raw.get("rope_theta", 10000.0))),
        rope_scaling=_rope_scaling(rope, source),
        tied=bool(raw.get("tie_word_embeddings", False)),
    )


def _rope_scaling(rope: Mapping[str, Any], source: str) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise ConfigurationError(f"{source}: rope_type", f"{kind!r:.60} is neither 'default' nor 'llama3'")
    reader = Figures(rope, f"{source}: rope_parameters", ConfigurationError)
    return RopeScaling(
        reader.number("factor"),
        reader.number("low_freq_factor"),
        reader.number("high_freq_factor"),
        reader.integer("original_max_position_embeddings"),
    )
