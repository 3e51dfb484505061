"""A LLaMA model that computes with streamed layers: embedding, final norm and head stay, the layers come and go."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns

import torch
from torch import Tensor
from torch.nn import functional

from perfguard import phase
from perfguard_suites.split_rpc import arithmetic
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.model import KeyValueCache, LayerArithmetic
from perfguard_suites.split_rpc.weights import EMBEDDING, FINAL_NORM, Weights, head_weight, load_checkpoint
from perfguard_suites.weight_streaming.config import DTYPES
from perfguard_suites.weight_streaming.marks import marks
from perfguard_suites.weight_streaming.quantising import dequantise_layer, scratch_for
from perfguard_suites.weight_streaming.streamer import Streamer
from perfguard_suites.weight_streaming.trace import Stretch, Trace


class StreamedModel:
    """`ReferenceModel` with its layers from a streamer, which it has for itself; the same arithmetic, so the same bits.

    `stays`: the weights that are never streamed (`staying_weights`). `capacity`: positions of the KV cache.
    """

    def __init__(
        self, config: ModelConfig, stays: Weights, streamer: Streamer, capacity: int, device: str = "cpu"
    ) -> None:
        self.config = config
        self.streamer = streamer
        self.stays = {name: tensor.to(device) for name, tensor in stays.items()}
        self.past = 0
        self._device = device
        dtype = DTYPES[streamer.config.dtype]
        tables = [table.to(device=device, dtype=dtype) for table in arithmetic.rotary_tables(config, capacity)]
        self._live: dict[str, Tensor] = {}
        self._layers = LayerArithmetic(config, self._live, tables[0], tables[1])
        self._cache = KeyValueCache(config, capacity, dtype, device)
        self._scratch: dict[str, Tensor] = {}

    @torch.inference_mode()
    def forward(self, ids: Tensor) -> Tensor:
        """Logits (1, vocabulary) after these token ids (int64, (tokens,)) at the next positions: one pass.

        Raises what the streamer raises; begin again with another one then.
        """
        mark, streamer, trace = marks(), self.streamer, self.streamer.trace
        hidden = self.stays[EMBEDDING][ids.to(self._device)]
        for _ in range(self.config.layers):
            with mark("weight_wait"):
                held = streamer.acquire()
            start_ns = perf_counter_ns()
            with mark("compute"):
                hidden = self._compute(held.tensors, held.layer, hidden)
            trace.computes.append(Stretch(held.layer, start_ns, perf_counter_ns()))
            with mark("evict"):
                streamer.release()
        self.past += ids.shape[0]
        with mark("head"):
            last = arithmetic.rms_norm(hidden[-1:], self.stays[FINAL_NORM], self.config.norm_eps)
            return functional.linear(last, self.stays[head_weight(self.config)]).cpu()

    def passes(self, ids: Tensor, count: int) -> tuple[Tensor, Trace]:
        """`count` passes over the same ids, each from position 0, in one stretch: the last logits, and the trace."""
        self.streamer.begin(count)
        for _ in range(count):
            self.past = 0
            logits = self.forward(ids)
        return logits, self.streamer.finish()

    def generate(self, ids: Tensor, steps: int) -> Tensor:
        """Greedy: the prompt's pass and `steps` more, one token each; ids (steps + 1,)."""
        self.past = 0
        self.streamer.begin(steps + 1)
        found = [self.forward(ids).argmax(-1)]
        for _ in range(steps):
            found.append(self.forward(found[-1]).argmax(-1))
        self.streamer.finish()
        return torch.cat(found)

    def _compute(self, tensors: Weights, layer: int, hidden: Tensor) -> Tensor:
        if self.streamer.config.quantise:
            if not self._scratch:
                self._scratch = scratch_for(tensors, DTYPES[self.streamer.config.dtype])
            with phase("dequantise"):
                tensors = dequantise_layer(tensors, self._scratch)
        self._live.clear()
        self._live.update(tensors)
        return self._layers.layer(layer, hidden, self._cache, self.past)


def staying_weights(folder: Path, config: ModelConfig, dtype: str) -> Weights:
    """What is never streamed: embedding, final norm and head.

    Copies: safetensors gives views of the mapped file, and a file cut off later would kill the process (SIGBUS).
    """
    names = tuple(dict.fromkeys((EMBEDDING, FINAL_NORM, head_weight(config))))
    loaded = load_checkpoint(folder, config, dtype=DTYPES[dtype], names=names)
    return {name: tensor.clone() for name, tensor in loaded.items()}
