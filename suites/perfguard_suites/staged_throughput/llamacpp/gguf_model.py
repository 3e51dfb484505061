"""A profile's model as a GGUF: its seeded weights, tensor by tensor, and a tokenizer with `ByteTokenizer`'s tokens.

The tokenizer is byte-level BPE with nothing to merge, so that every byte is a token in llama.cpp's own server too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.weights import EMBEDDING, FINAL_NORM, HEAD, module_weight, norm_weight
from perfguard_suites.staged_throughput.tokenizer import BYTES, END, ByteTokenizer
from perfguard_suites.staged_throughput.weights import each_weight, head_norm, qwen3_shapes

_END_WORD = "<|endoftext|>"
_MODULES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_gguf(path: Path, config: ModelConfig, *, half: bool, seed: int = 1) -> None:
    """Write the model; `half`: its matrices in float16 rather than float32. Holds one tensor at a time."""
    from gguf import GGUFWriter

    names = dict(_names(config))
    writer = GGUFWriter(path, "qwen3")
    try:
        _describe(writer, config, half=half)
        _add_tokenizer(writer, config.vocabulary)
        for name, shape in qwen3_shapes(config).items():
            kind = _dtype(shape, half=half)
            size = kind.itemsize
            for extent in shape:
                size *= extent
            writer.add_tensor_info(names[name], shape, kind, size)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, tensor in each_weight(config, seed):
            writer.write_tensor_data(tensor.numpy().astype(_dtype(tuple(tensor.shape), half=half), copy=False))
    finally:
        writer.close()


def _dtype(shape: tuple[int, ...], *, half: bool) -> Any:
    """llama.cpp takes norms in float32 alone."""
    import numpy as np

    return np.dtype(np.float16 if half and len(shape) > 1 else np.float32)


def _names(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Checkpoint's and GGUF's name of each tensor."""
    yield EMBEDDING, "token_embd.weight"
    yield FINAL_NORM, "output_norm.weight"
    yield HEAD, "output.weight"
    for layer in range(config.layers):
        for module, name in _MODULES.items():
            yield module_weight(layer, module), f"blk.{layer}.{name}.weight"
        yield norm_weight(layer, "input"), f"blk.{layer}.attn_norm.weight"
        yield norm_weight(layer, "post_attention"), f"blk.{layer}.ffn_norm.weight"
        for which in ("q", "k"):
            yield head_norm(layer, which), f"blk.{layer}.attn_{which}_norm.weight"


def _describe(writer: Any, config: ModelConfig, *, half: bool) -> None:
    from gguf import LlamaFileType

    writer.add_name(f"perfguard-{config.name}, random weights")
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.intermediate)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_file_type(LlamaFileType.MOSTLY_F16 if half else LlamaFileType.ALL_F32)


def _add_tokenizer(writer: Any, vocabulary: int) -> None:
    from gguf import TokenType

    own = ByteTokenizer(vocabulary)
    letters = byte_letters()
    words = [
        _END_WORD if token == END else "".join(map(letters.__getitem__, own.piece(token)))
        for token in range(vocabulary)
    ]
    kinds = [int(TokenType.CONTROL if token == END else TokenType.NORMAL) for token in range(vocabulary)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    # There has to be a merge. This one is of two bytes that no UTF-8 has.
    writer.add_token_merges([f"{letters[0xFE]} {letters[0xFF]}"])
    writer.add_eos_token_id(END)
    writer.add_pad_token_id(END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(_CHAT)


def byte_letters() -> list[str]:
    """The character that stands for each byte in the words of byte-level BPE (GPT-2's, OpenAI 2019)."""
    shown = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = itertools.count(BYTES)
    return [chr(byte if byte in shown else next(others)) for byte in range(BYTES)]
