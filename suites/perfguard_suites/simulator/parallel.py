"""How a model lies on devices: what of it each holds, checked against model, request and hardware."""

from __future__ import annotations

from dataclasses import dataclass

from perfguard_suites.simulator.collectives import Ring, group_of
from perfguard_suites.simulator.config import Parallelism, Request
from perfguard_suites.simulator.errors import LayoutError, ModelDoesNotFit
from perfguard_suites.simulator.hardware import Hardware
from perfguard_suites.simulator.models import ModelShape

ACTIVATION_COPIES = 4  # residual stream, a block's input, its widest intermediate value and its output


@dataclass(frozen=True, slots=True)
class Layout:
    """One model on devices: the extents that one device works with, and the groups it talks to.

    `batch`: prompts in one microbatch of one replica. `stages`: layers in each pipeline stage. `experts`: routed ones
    that a device holds; `expert_tensor`: devices that share each of them; `expert_replicas`: replicas whose tokens meet
    at them.
    """

    batch: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    stages: tuple[int, ...]
    experts: int
    expert_tensor: int
    expert_replicas: int
    tensor_group: tuple[Ring, ...]
    expert_group: tuple[Ring, ...]

    @classmethod
    def of(cls, model: ModelShape, hardware: Hardware, request: Request, spread: Parallelism) -> Layout:
        """The layout, checked. Raises `LayoutError` naming what does not divide, `ModelDoesNotFit` with the bytes."""
        tensor, most = spread.tensor, hardware.levels[-1].devices if hardware.levels else 1
        if spread.devices > most:
            raise LayoutError(
                f"parallelism: {spread.devices} devices",
                f"{hardware.name}'s links join {most}",
                "spread the model less",
            )
        _divides("parallelism.tensor", tensor, model.heads, f"the {model.heads} heads of {model.name}")
        _divides("parallelism.tensor", tensor, model.intermediate, f"the intermediate size {model.intermediate}")
        if model.kv_heads % tensor and tensor % model.kv_heads:
            raise LayoutError(
                "parallelism.tensor",
                f"{tensor} neither divides the {model.kv_heads} key and value heads of {model.name} nor is a multiple",
            )
        _divides("parallelism.data", spread.data, request.batch, f"the batch of {request.batch}")
        replica = request.batch // spread.data
        _divides("parallelism.microbatches", spread.microbatches, replica, f"a replica's batch of {replica}")
        if spread.pipeline > model.layers:
            raise LayoutError("parallelism.pipeline", f"{spread.pipeline} stages for {model.layers} layers")
        expert_tensor, expert_replicas = _expert_spread(model, spread)
        layout = cls(
            batch=replica // spread.microbatches,
            heads=model.heads // tensor,
            kv_heads=max(1, model.kv_heads // tensor),
            intermediate=model.intermediate // tensor,
            vocabulary=-(-model.vocabulary // tensor),
            stages=_stages(model.layers, spread.pipeline),
            experts=model.moe.experts // spread.expert if model.moe else 0,
            expert_tensor=expert_tensor,
            expert_replicas=expert_replicas,
            tensor_group=group_of(hardware, tensor),
            expert_group=group_of(hardware, spread.expert) if expert_replicas > 1 else (),
        )
        layout.check_memory(model, hardware, request, spread)
        return layout

    def check_memory(self, model: ModelShape, hardware: Hardware, request: Request, spread: Parallelism) -> None:
        """Raises `ModelDoesNotFit` if weights, cache and activations of the fullest stage exceed a device's memory."""
        needed = self.memory_bytes(model, request, spread)
        if sum(needed.values()) > hardware.dram_bytes:
            parts = ", ".join(f"{name} {nbytes / 2**30:.1f}" for name, nbytes in needed.items())
            raise ModelDoesNotFit(
                f"{model.name} on {hardware.name}",
                f"a device needs {sum(needed.values()) / 2**30:.1f} GiB ({parts}) and has "
                f"{hardware.dram_bytes / 2**30:.1f}",
                "spread it over more devices (tensor, pipeline, expert), or take a smaller batch or dtype",
            )

    def memory_bytes(self, model: ModelShape, request: Request, spread: Parallelism) -> dict[str, int]:
        """Bytes that the fullest device holds, by what they are for."""
        layers = range(model.layers)
        starts = [sum(self.stages[:stage]) for stage in range(len(self.stages))]
        ends = [start + length for start, length in zip(starts, self.stages, strict=True)]
        per_stage = [
            sum(self._layer_weights(model, layer, spread) for layer in layers[start:end])
            for start, end in zip(starts, ends, strict=True)
        ]
        embedding = self.vocabulary * model.hidden
        per_stage[0] += embedding
        if not (model.tied and len(self.stages) == 1):
            per_stage[-1] += embedding
        positions = request.prompt_tokens + request.output_tokens
        cached = model.cached_elements
        if model.mla is None:
            cached = 2 * self.kv_heads * model.head_dim
        tokens = self.batch * request.prompt_tokens
        widest = max(model.hidden, self.intermediate)
        size = request.element_bytes
        return {
            "weights": max(per_stage) * size,
            "cache": max(self.stages) * cached * positions * self.batch * spread.microbatches * size,
            "activations": ACTIVATION_COPIES * tokens * widest * size,
        }

    def _layer_weights(self, model: ModelShape, layer: int, spread: Parallelism) -> int:
        """Elements of a layer's weights on one device; the latent projections of MLA are on every device."""
        if model.mla is None:
            attention = 2 * model.hidden * model.head_dim * (self.heads + self.kv_heads)
        else:
            everywhere = model.hidden * (model.mla.q_rank + model.mla.kv_rank + model.mla.rope)
            attention = everywhere + (model.attention_parameters() - everywhere) // spread.tensor
        if model.moe is None or layer < model.dense_layers:
            return attention + model.feed_forward_parameters(layer) // spread.tensor
        moe, matrices = model.moe, 3 if model.gated else 2
        routed = matrices * model.hidden * moe.intermediate * self.experts // self.expert_tensor
        shared = matrices * model.hidden * moe.intermediate * moe.shared // spread.tensor
        return attention + routed + shared + model.hidden * moe.experts


def _expert_spread(model: ModelShape, spread: Parallelism) -> tuple[int, int]:
    """How many devices share an expert, and how many replicas' tokens meet at the experts."""
    expert, tensor = spread.expert, spread.tensor
    if model.moe is None:
        if expert > 1:
            raise LayoutError("parallelism.expert", f"{expert} devices for the experts of {model.name}, which has none")
        return 1, 1
    _divides("parallelism.expert", expert, model.moe.experts, f"the {model.moe.experts} experts of {model.name}")
    if expert <= tensor:
        _divides("parallelism.expert", expert, tensor, f"the {tensor} tensor ranks")
        _divides("parallelism.tensor", tensor // expert, model.moe.intermediate, "an expert's intermediate size")
        return tensor // expert, 1
    replicas = expert // tensor
    if expert % tensor or spread.data % replicas:
        raise LayoutError(
            "parallelism.expert",
            f"{expert} devices are not whole replicas of {tensor} tensor ranks, out of {spread.data}",
            "take a multiple of tensor, and data a multiple of expert / tensor",
        )
    return 1, replicas


def _stages(layers: int, pipeline: int) -> tuple[int, ...]:
    """Layers in each stage: even, the earlier stages one more where they do not divide (the last has the head)."""
    base, more = divmod(layers, pipeline)
    return tuple(base + (stage < more) for stage in range(pipeline))


def _divides(culprit: str, divisor: int, extent: int, words: str) -> None:
    if extent % divisor:
        raise LayoutError(culprit, f"{divisor} does not divide {words}", f"take a divisor of {extent}")
