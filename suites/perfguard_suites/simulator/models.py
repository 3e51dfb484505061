"""The shape of a transformer: dense or mixture of experts, with any of three attentions; presets as published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from perfguard_suites.simulator.errors import ModelError

MAX_EXTENT = 1 << 24


@dataclass(frozen=True, slots=True)
class Mla:
    """Multi-head latent attention: keys and values are rebuilt from one cached latent a token (arXiv 2405.04434, 2.1).

    `q_rank` 0: queries are projected directly. A query head is `nope` + `rope` wide, a value head `value`.
    """

    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    value: int

    def __post_init__(self) -> None:
        _check_extents("mla", self, at_least={"q_rank": 0})


@dataclass(frozen=True, slots=True)
class Moe:
    """A mixture of experts: `top_k` of `experts` work on a token, `shared` ones on every token.

    The first `dense_layers` layers have an ordinary feed-forward block.
    """

    experts: int
    top_k: int
    intermediate: int
    shared: int = 0
    dense_layers: int = 0

    def __post_init__(self) -> None:
        _check_extents("moe", self, at_least={"shared": 0, "dense_layers": 0})
        if self.top_k > self.experts:
            raise ModelError("moe: top_k", f"{self.top_k} of {self.experts} experts", "take at most all of them")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Every figure of a decoder-only transformer that its time depends on. Raises `ModelError` if it cannot be.

    `heads` query heads share `kv_heads` key and value heads evenly: equal for multi-head attention, fewer for grouped
    queries, ignored where there is `mla`. `gated`: the feed-forward block has a gate beside its up projection (SwiGLU).
    `tied`: the head's weight is the embedding's. `source`: where the figures come from.
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
    gated: bool = True
    tied: bool = False
    mla: Mla | None = None
    moe: Moe | None = None
    source: str = ""

    def __post_init__(self) -> None:
        culprit = f"model {self.name!r:.60}"
        _check_extents(culprit, self)
        if self.heads % self.kv_heads:
            raise ModelError(
                f"{culprit}: kv_heads",
                f"{self.heads} heads do not share {self.kv_heads} key and value heads evenly",
                "take a divisor of heads",
            )
        if self.moe is not None and self.moe.dense_layers > self.layers:
            raise ModelError(f"{culprit}: moe.dense_layers", f"{self.moe.dense_layers} of {self.layers} layers")

    def first_layers(self, layers: int) -> ModelShape:
        """The same model with only its first `layers`. Raises `ModelError` if it has fewer."""
        if not 1 <= layers <= self.layers:
            raise ModelError(f"model {self.name!r:.60}: layers", f"{layers} is not in 1 .. {self.layers}")
        moe = self.moe and replace(self.moe, dense_layers=min(self.moe.dense_layers, layers))
        return replace(self, layers=layers, moe=moe)

    @property
    def dense_layers(self) -> int:
        """How many layers, from the first, have an ordinary feed-forward block."""
        return self.layers if self.moe is None else self.moe.dense_layers

    @property
    def attention(self) -> str:
        """What kind of attention it has."""
        if self.mla is not None:
            return "MLA"
        return "MHA" if self.heads == self.kv_heads else "MQA" if self.kv_heads == 1 else "GQA"

    def attention_parameters(self) -> int:
        """Weights of a layer's attention, its own norms among them."""
        if self.mla is None:
            return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        mla = self.mla
        wide = self.heads * (mla.nope + mla.rope)
        query = mla.q_rank * (self.hidden + wide + 1) if mla.q_rank else self.hidden * wide
        latent = self.hidden * (mla.kv_rank + mla.rope) + mla.kv_rank
        rebuilt = mla.kv_rank * self.heads * (mla.nope + mla.value)
        return query + latent + rebuilt + self.heads * mla.value * self.hidden

    def feed_forward_parameters(self, layer: int) -> int:
        """Weights of the feed-forward block of a layer: all experts, and their router."""
        matrices = 3 if self.gated else 2
        if self.moe is None or layer < self.moe.dense_layers:
            return matrices * self.hidden * self.intermediate
        moe = self.moe
        return matrices * self.hidden * moe.intermediate * (moe.experts + moe.shared) + self.hidden * moe.experts

    @property
    def parameters(self) -> int:
        """Weights of the whole model, norms included, biases and learned positions not."""
        layers = self.layers * (self.attention_parameters() + 2 * self.hidden)
        sparse = self.layers - self.dense_layers
        layers += self.dense_layers * self.feed_forward_parameters(0)
        layers += sparse * self.feed_forward_parameters(self.layers - 1) if sparse else 0
        return layers + self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def cached_elements(self) -> int:
        """Elements that one token leaves in the cache of one layer."""
        if self.mla is not None:
            return self.mla.kv_rank + self.mla.rope
        return 2 * self.kv_heads * self.head_dim


def _check_extents(culprit: str, shape: object, at_least: Mapping[str, int] | None = None) -> None:
    for field in fields(shape):  # type: ignore[arg-type]  # every caller is a dataclass
        value, least = getattr(shape, field.name), (at_least or {}).get(field.name, 1)
        if field.type == "int" and not (type(value) is int and least <= value <= MAX_EXTENT):
            raise ModelError(f"{culprit}: {field.name}", f"{value!r:.60} is not in {least} .. {MAX_EXTENT}")


PRESETS: Mapping[str, ModelShape] = {
    shape.name: shape
    for shape in (
        ModelShape(
            "llama-3.2-1b", 2048, 16, 32, 8, 64, 8192, 128256, 131072, tied=True,
            source="config.json of meta-llama/Llama-3.2-1B on Hugging Face",
        ),
        ModelShape(
            "llama-2-7b", 4096, 32, 32, 32, 128, 11008, 32000, 4096,
            source="config.json of meta-llama/Llama-2-7b-hf on Hugging Face",
        ),
        ModelShape(
            "yi-34b", 7168, 60, 56, 8, 128, 20480, 64000, 4096,
            source="config.json of 01-ai/Yi-34B on Hugging Face: 60 layers, 34 billion parameters",
        ),
        ModelShape(
            "gpt-3-175b", 12288, 96, 96, 96, 128, 49152, 50257, 2048, gated=False, tied=True,
            source="Brown et al. 2020 (arXiv 2005.14165), table 2.1; vocabulary and context of GPT-2's tokenizer, 2.1",
        ),
        ModelShape(
            "deepseek-v3", 7168, 61, 128, 128, 128, 18432, 129280, 163840,
            mla=Mla(q_rank=1536, kv_rank=512, nope=128, rope=64, value=128),
            moe=Moe(experts=256, top_k=8, intermediate=2048, shared=1, dense_layers=3),
            source="config.json of deepseek-ai/DeepSeek-V3 on Hugging Face; arXiv 2412.19437, 4.2",
        ),
    )
}  # fmt: skip


def model_of(name: str) -> ModelShape:
    """The preset of that name. Raises `ModelError`."""
    found = PRESETS.get(name)
    if found is None:
        raise ModelError(
            f"model {name!r:.80}",
            "is no preset and no file",
            f"one of {', '.join(PRESETS)}, or a path to a config.json",
        )
    return found
