"""The variants of the split system as data: what is fused, what crosses in which form, who keeps it, who sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.errors import ConfigurationError

Fusion = Literal["per_op", "qkv_scores", "trusted_minimal", "linear_only", "whole_layer"]
Protection = Literal["none", "masked", "verified", "masked_verified"]
WIRES = ("float32", "bfloat16", "float16")
# Unit roundoffs: half the distance from 1 to the next number (8, 11 and 24 significant bits).
ROUNDOFF: Mapping[str, float] = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the split model. Raises `ConfigurationError` for what contradicts itself.

    fusion        `per_op`: six calls a layer; `qkv_scores`: five, projections, rotation and scores in one;
                  `trusted_minimal`: four, values and output projection in one as well, K and V on the server;
                  `linear_only`: four, the linear modules only, attention whole in the trusted process;
                  `whole_layer`: one.
    channel       a kind of the transport suite.
    loans         tensors are computed in the channel's own memory, where it has some, instead of being copied there.
    wire          dtype of activations on the wire, both ways.
    repeat_first  `per_op`: K and V are repeated to all query heads before they are sent, not after.
    rows          rows per block of packed causal scores, 0 for the dense square.
    head_rows     `last`: the head gets the last position only; `all`: every position.
    embedding     who looks tokens up.
    resident_values  `qkv_scores`: V stays on the server.
    chunks        the prompt in that many parts of consecutive positions, each with a request of its own in flight.
    protection    of linear modules, with `linear_only`.
    memory        `host`: tensors travel in messages; `device`: they lie in GPU memory that both processes map, the
                  client computes there too, and messages carry none.
    """

    name: str
    fusion: Fusion = "per_op"
    channel: str = "naive-tcp"
    loans: bool = False
    wire: str = "float32"
    repeat_first: bool = True
    rows: int = 0
    head_rows: Literal["last", "all"] = "last"
    embedding: Literal["server", "client"] = "server"
    resident_values: bool = False
    chunks: int = 1
    protection: Protection = "none"
    memory: Literal["host", "device"] = "host"

    def __post_init__(self) -> None:
        if self.wire not in WIRES:
            raise ConfigurationError(
                f"variant {self.name!r:.60}: wire", f"{self.wire!r:.40}", f"one of {', '.join(WIRES)}"
            )
        if "masked" in self.protection and self.wire != "float32":
            raise ConfigurationError(f"variant {self.name!r:.60}: wire", "masked messages are 32-bit field elements")
        if self.rows < 0 or not 1 <= self.chunks <= 32:
            raise ConfigurationError(f"variant {self.name!r:.60}", "rows or chunks out of range")
        if self.protection != "none" and self.fusion != "linear_only":
            raise ConfigurationError(
                f"variant {self.name!r:.60}: protection",
                f"{self.protection} protects products with known weights only",
                "use fusion linear_only, which leaves attention in the trusted process",
            )

        if self.by_handle and (self.fusion, self.wire, self.rows, self.chunks, self.embedding, self.head_rows) != (
            "trusted_minimal", "float32", 0, 1, "client", "last",
        ):  # fmt: skip
            raise ConfigurationError(
                f"variant {self.name!r:.60}: memory",
                "device memory is shared for one form of a pass only",
                "trusted_minimal, float32, dense, one chunk, embedding in the client",
            )

    @property
    def by_handle(self) -> bool:
        """Whether tensors are handed over in place, and no message carries one."""
        return self.memory == "device"

    @property
    def calls_per_layer(self) -> int:
        """Remote calls of one layer."""
        return {"per_op": 6, "qkv_scores": 5, "trusted_minimal": 4, "linear_only": 4, "whole_layer": 1}[self.fusion]

    @property
    def honest(self) -> bool:
        """Whether softmax, norms, SiLU and residuals stay in the trusted process, and in its own memory."""
        return self.fusion != "whole_layer" and not self.by_handle

    @property
    def label(self) -> str:
        """How secure the variant is, in a word or three."""
        if self.by_handle:
            return "insecure: the server reads and writes the client's activations at will"
        if not self.honest:
            return "insecure upper bound"
        return {
            "none": "server trusted not to look",
            "masked": "server sees no activations",
            "verified": "server cannot lie unnoticed",
            "masked_verified": "server sees no activations, cannot lie unnoticed",
        }[self.protection]

    @property
    def server_sees(self) -> tuple[str, ...]:
        """What of a request passes through the server in the clear."""
        seen = []
        if self.embedding == "server":
            seen.append("token ids")
        if "masked" in self.protection:
            return (*seen, "uniformly random field elements")
        if self.by_handle:
            return (*seen, "the memory of all activations that are sent or received, which it can change", "logits")
        if not self.honest:
            return (*seen, "every activation: residual stream, norms, softmax, SiLU", "logits")
        seen += ["inputs and outputs of every linear module"]
        if self.fusion != "linear_only":
            seen.append("queries, keys, values, scores and attention weights")
        return (*seen, "logits")

    def params(self) -> dict[str, str | int | bool]:
        """The fields by name, for a case's parameters."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


SEED = Variant("seed")
_SHM = replace(SEED, name="shm", channel="shm")
_AFTER = replace(_SHM, name="repeat-after", loans=True, repeat_first=False)
_MINIMAL = Variant("trusted-minimal", "trusted_minimal", "shm", loans=True, repeat_first=False)
_LOCAL = replace(_MINIMAL, name="local-embedding", embedding="client")
_LINEAR = Variant("linear-only", "linear_only", "shm", loans=True, repeat_first=False, embedding="client")

VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        SEED,
        replace(SEED, name="naive-ipc", channel="naive-ipc"),
        replace(SEED, name="multipart-ipc", channel="multipart-ipc"),
        _SHM,
        replace(_SHM, name="shm-loans", loans=True),
        _AFTER,
        replace(_AFTER, name="packed-scores", rows=32),
        Variant("qkv-scores", "qkv_scores", "shm", loans=True, repeat_first=False),
        _MINIMAL,
        _LOCAL,
        replace(_LOCAL, name="minimal-bf16", wire="bfloat16"),
        replace(_LOCAL, name="minimal-fp16", wire="float16"),
        replace(_LOCAL, name="minimal-packed", rows=32),
        replace(_LOCAL, name="minimal-pipelined", chunks=2),
        _LINEAR,
        replace(_LINEAR, name="linear-pipelined", chunks=2),
        replace(_LINEAR, name="linear-bf16", wire="bfloat16"),
        replace(_LINEAR, name="verified", protection="verified"),
        replace(_LINEAR, name="masked", protection="masked"),
        replace(_LINEAR, name="masked-verified", protection="masked_verified"),
        replace(_LOCAL, name="cuda-ipc", loans=False, memory="device"),
        Variant("whole-layer", "whole_layer", "shm", loans=True, repeat_first=False),
    )
}


# Those of the quick profile: each proposal once.
QUICK = tuple(
    name
    for name in VARIANTS
    if name not in {"minimal-fp16", "minimal-packed", "linear-pipelined", "linear-bf16", "masked-verified"}
)


def variant_of(name: str) -> Variant:
    """The variant of that name. Raises `ConfigurationError`."""
    found = VARIANTS.get(name)
    if found is None:
        raise ConfigurationError(f"variant {name!r:.60}", "is unknown", f"one of {', '.join(VARIANTS)}")
    return found


def error_bound(config: ModelConfig, variant: Variant) -> float:
    """The most that logits may deviate from the single process, relative to the largest logit.

    In float32 the order of sums differs: 1e-4. A narrower wire rounds every crossing tensor by at most its unit
    roundoff u, relative to each element. To first order these errors add up along the residual stream: with c
    crossings one after another from token to logits (each call is two), at most c u where no operation amplifies;
    norms keep the stream at unit scale, softmax and SiLU are Lipschitz with constants 1 and 1.1. This worst case
    takes all errors to have one sign; independent ones come to about sqrt(c) u, which is what is measured. Masks are
    exact; what a masked variant deviates by is its fixed point, whose weights have the coarsest step.
    """
    if "masked" in variant.protection:
        u = 2.0**-10  # weights of 10 bits; activations are finer
    elif variant.wire == "float32":
        return 1e-4
    else:
        u = ROUNDOFF[variant.wire]
    crossings = 2 * (config.layers * variant.calls_per_layer + 2)
    return crossings * u
