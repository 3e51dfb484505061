"""The shape model: the published figures of a split prefill, and what each variant changes in them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfguard_suites.split_rpc.config import CONFIGS, config_of
from perfguard_suites.split_rpc.errors import ConfigurationError
from perfguard_suites.split_rpc.traffic import (
    chunk_sizes,
    largest_message_bytes,
    predict,
    predict_request,
    traffic_of,
)
from perfguard_suites.split_rpc.variants import SEED, VARIANTS, Variant, variant_of
from perfguard_suites.transport import mix

MIB = 1024 * 1024
LLAMA = CONFIGS["llama-1b"]


def test_the_seeds_prefill_is_explained_to_a_hundredth_of_a_mebibyte() -> None:
    """llama-1b, 1024 tokens, per-op, fp32: 98 calls, 3328.02 MiB sent, 3656.49 MiB received."""
    found = traffic_of(predict(LLAMA, SEED, 1024))
    assert found.calls == 98
    assert round(found.bytes_sent / MIB, 2) == 3328.02
    assert round(found.bytes_received / MIB, 2) == 3656.49


def test_the_seeds_calls_are_those_of_the_transport_mix() -> None:
    """Two independent shape models, one of them measured already, say the same bytes call by call."""
    ours = predict(LLAMA, SEED, 1024)
    theirs = mix.predict(mix.LLAMA_1B, 1024)
    assert [(call.sent_bytes, call.received_bytes) for call in ours] == [
        (call.sent_bytes, call.received_bytes) for call in theirs
    ]


@pytest.mark.parametrize(
    ("name", "calls"),
    [("seed", 98), ("qkv-scores", 82), ("trusted-minimal", 66), ("local-embedding", 65), ("whole-layer", 18)],
)
def test_calls_of_a_prefill(name: str, calls: int) -> None:
    """What fusion does to the number of calls of llama-1b; one call a layer is 18 in all, not 22."""
    assert len(predict(LLAMA, VARIANTS[name], 1024)) == calls


def test_half_the_wire_type_is_half_the_bytes_but_for_token_ids() -> None:
    """bf16 and fp16 really halve what crosses."""
    full, half = (traffic_of(predict(LLAMA, replace(SEED, wire=wire), 64)) for wire in ("float32", "bfloat16"))
    ids = 64 * 8
    assert (half.bytes_sent - ids) * 2 == full.bytes_sent - ids
    assert half.bytes_received * 2 == full.bytes_received


def test_packed_scores_leave_out_the_upper_triangle() -> None:
    """Blocks of one row are the exact triangle; wider blocks lie between it and the square."""
    sizes = [
        next(call for call in predict(LLAMA, replace(SEED, rows=rows), 128) if call.method == "matmul_scores")
        for rows in (1, 16, 0)
    ]
    heads, tokens = LLAMA.heads, 128
    assert sizes[0].received_bytes == heads * tokens * (tokens + 1) // 2 * 4
    assert sizes[0].received_bytes < sizes[1].received_bytes < sizes[2].received_bytes == heads * tokens**2 * 4


def test_resident_values_stay_at_home() -> None:
    """With V on the server, neither the projection's reply nor the product's request carries it."""
    config = config_of("tiny")
    away, home = (
        traffic_of(predict(config, Variant("v", "qkv_scores", resident_values=resident, repeat_first=False), 32))
        for resident in (False, True)
    )
    values = config.layers * 32 * config.kv_width * 4
    assert away.bytes_received - home.bytes_received == values
    assert away.bytes_sent - home.bytes_sent == values


def test_a_request_is_its_prefill_and_its_steps() -> None:
    """Decode steps send keys and values of all earlier positions where the client keeps them: bytes grow."""
    config = config_of("tiny")
    total = predict_request(config, SEED, 16, 3)
    parts = [traffic_of(predict(config, SEED, 16)), *(traffic_of(predict(config, SEED, 1, 16 + n)) for n in range(3))]
    assert total.bytes_sent == sum(part.bytes_sent for part in parts)
    assert parts[1].bytes_sent < parts[2].bytes_sent < parts[3].bytes_sent
    assert total.calls == sum(part.calls for part in parts)


def test_chunks_cover_the_prompt() -> None:
    """Never an empty chunk, never more chunks than tokens."""
    assert chunk_sizes(10, 3) == (4, 3, 3)
    assert chunk_sizes(1, 4) == (1,)
    assert all(sum(chunk_sizes(n, 4)) == n for n in range(1, 20))


def test_the_largest_message_of_the_seeds_prefill() -> None:
    """Attention weights and values together: what a channel has to carry."""
    assert largest_message_bytes(LLAMA, SEED, 1024) == (128 + 8) * MIB


@pytest.mark.parametrize(
    "change",
    [
        {"memory": "device"},
        {"wire": "float64"},
        {"chunks": 0},
        {"rows": -1},
        {"protection": "masked"},
        {"protection": "verified"},
    ],
)
def test_variants_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    """Protection covers products with known weights: it needs attention in the trusted process."""
    with pytest.raises(ConfigurationError, match="variant 'seed'"):
        replace(SEED, **change)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="is unknown"):
        variant_of("nonesuch")


def test_every_variant_says_what_the_server_sees() -> None:
    """What gives everything away, whole layers or memory that the server maps, is labelled insecure, and it alone."""
    for variant in VARIANTS.values():
        assert variant.server_sees
        assert variant.honest == (variant.fusion != "whole_layer" and not variant.by_handle)
        assert variant.honest == ("insecure" not in variant.label)
        assert ("token ids" in variant.server_sees) == (variant.embedding == "server")


def test_what_is_handed_over_in_place_is_on_no_message() -> None:
    """The calls are those of the same variant over messages; the bytes that travel are none, in every pass."""
    shared = predict_request(LLAMA, VARIANTS["cuda-ipc"], 1024, 4)
    sent = predict_request(LLAMA, VARIANTS["local-embedding"], 1024, 4)
    assert (shared.calls, shared.bytes_sent, shared.bytes_received) == (sent.calls, 0, 0)
    calls = predict(LLAMA, VARIANTS["cuda-ipc"], 1024)
    assert traffic_of(calls) == traffic_of(predict(LLAMA, VARIANTS["local-embedding"], 1024))
