"""The workload mix explains the seeds' measured traffic from tensor shapes alone, to the byte."""

from __future__ import annotations

from itertools import pairwise

import pytest

from perfguard.errors import OptionError
from perfguard_suites.transport.mix import LLAMA_1B, ModelShape, predict, predict_fused

MIB = 1 << 20


def totals(calls):
    return sum(c.sent_bytes for c in calls), sum(c.received_bytes for c in calls)


def test_98_calls_in_the_true_order():
    """One embedding, six products per layer in the order a layer computes them, one head: 98 calls."""
    calls = predict(LLAMA_1B, 1024)
    assert len(calls) == 98
    layer = ["qkv", "scores", "weighted_values", "output", "gate_up", "down"]
    assert [c.method for c in calls] == ["embedding", *layer * 16, "head"]
    assert [c.layer for c in calls] == [-1, *[n for n in range(16) for _ in range(6)], -1]


def test_bytes_per_layer_are_those_of_the_audit():
    """At 1024 tokens in fp32 each product moves the audited MiB: 208 sent and 228 received per layer."""
    calls = {c.method: (c.sent_bytes / MIB, c.received_bytes / MIB) for c in predict(LLAMA_1B, 1024) if c.layer == 7}
    assert calls == {
        "qkv": (8, 12),
        "scores": (16, 128),
        "weighted_values": (136, 8),
        "output": (8, 8),
        "gate_up": (8, 64),
        "down": (32, 8),
    }
    layer = [c for c in predict(LLAMA_1B, 1024) if c.layer == 7]
    assert totals(layer) == (208 * MIB, 228 * MIB)


def test_totals_are_the_measured_ones():
    """The shapes give 3328.02 MiB sent and 3656.49 received; the measured system said 3328.02 and 3656.50."""
    sent, received = totals(predict(LLAMA_1B, 1024))
    assert (sent, received) == (3328 * MIB + 2 * 8192, 3656 * MIB + 128256 * 4)
    assert round(sent / MIB, 2) == 3328.02
    assert round(received / MIB, 2) == 3656.49


def test_measured_total_settles_what_embedding_and_head_send():
    """Only int64 ids with one position for the head give 3328.02: int32 ids or all positions do not."""
    sent, _ = totals(predict(LLAMA_1B, 1024))
    embedding, head = predict(LLAMA_1B, 1024)[0], predict(LLAMA_1B, 1024)[-1]
    assert (embedding.sent_bytes, head.sent_bytes) == (1024 * 8, 2048 * 4)
    assert round((sent - 1024 * 4) / MIB, 2) == 3328.01
    assert round((sent - head.sent_bytes) / MIB, 2) == 3328.01
    assert round((sent + 1023 * 2048 * 4) / MIB, 2) == 3336.01


def test_half_width_dtype_halves_all_but_the_token_ids():
    """bf16 on the wire halves every tensor; token ids stay int64."""
    full, half = predict(LLAMA_1B, 256), predict(ModelShape(dtype="bfloat16"), 256)
    for a, b in zip(full, half, strict=True):
        ids = 256 * 8 if a.method == "embedding" else 0
        assert a.sent_bytes - ids == 2 * (b.sent_bytes - ids)
        assert a.received_bytes == 2 * b.received_bytes


def test_fused_mix_is_66_calls_and_hides_keys_and_values():
    """4 calls a layer and 2 outside make 66; scores and probabilities still cross, keys and values do not."""
    calls = predict_fused(LLAMA_1B, 1024)
    assert len(calls) == 66
    layer = {c.method: (c.sent_bytes / MIB, c.received_bytes / MIB) for c in calls if c.layer == 3}
    assert layer == {"qkv_scores": (8, 128), "values_output": (128, 8), "gate_up": (8, 64), "down": (32, 8)}


def test_scores_grow_with_the_square_of_the_prompt():
    """Doubling the prompt quadruples the scores' reply and doubles its request."""

    def scores(tokens):
        return next(c for c in predict(LLAMA_1B, tokens) if c.method == "scores")

    for short, long in pairwise((64, 128, 256)):
        assert scores(long).sent_bytes == 2 * scores(short).sent_bytes
        assert scores(long).received_bytes == 4 * scores(short).received_bytes


@pytest.mark.parametrize("tokens", [0, -1, 10**6])
def test_impossible_prompts_are_refused(tokens):
    """A prompt length outside the bounds names the option and the bounds."""
    with pytest.raises(OptionError, match=r"tokens.*1 \.\. 8192"):
        predict(LLAMA_1B, tokens)


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"hidden": 2**30}, {"kv_heads": 5}, {"dtype": "int4"}])
def test_impossible_models_are_refused(wrong):
    """A model shape that cannot be names its wrong figure."""
    with pytest.raises(OptionError, match=next(iter(wrong))):
        ModelShape(**wrong)
