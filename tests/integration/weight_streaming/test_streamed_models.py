"""Streamed models over real files and reader threads: the same bits as with all weights in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from streamed_models import IDS, MODEL, resident_logits, sharded_folder, small, streamed

from perfguard.spans import Recorder, recording
from perfguard_suites.split_rpc.arithmetic import relative_error
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.weight_streaming import accelerated, baselines, validity
from perfguard_suites.weight_streaming.config import POLICIES
from perfguard_suites.weight_streaming.cuda import CudaStreamer, needs_cuda
from perfguard_suites.weight_streaming.errors import StreamingConfigError
from perfguard_suites.weight_streaming.making import FILE, make_folder, resident_weights
from perfguard_suites.weight_streaming.model import StreamedModel, staying_weights
from perfguard_suites.weight_streaming.policy import loads_of_a_pass
from perfguard_suites.weight_streaming.store import opened
from perfguard_suites.weight_streaming.streamer import streaming

WAYS: list[dict[str, Any]] = [
    *({"policy": policy} for policy in POLICIES),
    {"direct_io": True},
    {"drop_cache": True},
    {"reading": "map"},
    {"reading": "map", "policy": "belady", "drop_cache": True},
    {"reader_threads": 3, "buffers": 2},
    {"prefetch_distance": 0, "max_cached_layers": 0},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeded weights of the tiny model."""
    return make_folder(tmp_path_factory.mktemp("weights"), MODEL, seed=3)


@pytest.mark.parametrize("changes", WAYS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_streamed_logits_are_the_resident_ones_bit_by_bit(folder: Path, changes: dict[str, Any]) -> None:
    """Under every policy and way of reading, over several passes, in bounded memory, with the loads foreseen."""
    config = small(**changes)
    with opened(folder, MODEL, config) as store, streaming(store, config) as streamer:
        model = streamed(folder, streamer)
        model.passes(IDS, 8)
        logits, trace = model.passes(IDS, 8)
        assert torch.equal(logits, resident_logits(folder))
        assert trace.most_present <= config.slots
        assert streamer.resident_bytes <= config.slots * store.layer_bytes
        assert [each.layer for each in trace.computes] == 8 * list(range(MODEL.layers))
        if config.policy in ("lookahead", "lru", "resident"):
            assert len(trace.loads) == 8 * loads_of_a_pass(config, MODEL.layers)


@pytest.mark.parametrize("changes", [{}, {"direct_io": True}, {"reading": "map"}], ids=str)
def test_a_checkpoint_of_other_writers_is_streamed_too(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Two shards, a layer's tensors in both, in alphabetical order and on no page's start."""
    folder = sharded_folder(tmp_path / "sharded")
    config = small(**changes)
    with opened(folder, MODEL, config) as store, streaming(store, config) as streamer:
        logits, _ = streamed(folder, streamer).passes(IDS, 2)
    assert torch.equal(logits, resident_logits(folder))


def test_generation_streams_the_same_tokens(folder: Path) -> None:
    """A prompt and single tokens after it, with a KV cache, as the resident model continues it."""
    config = small(policy="belady")
    with opened(folder, MODEL, config) as store, streaming(store, config) as streamer:
        found = streamed(folder, streamer).generate(IDS, 5)
    reference = ReferenceModel(MODEL, resident_weights(folder, MODEL), 16)
    expected = [reference.forward(IDS).argmax(-1)]
    for _ in range(5):
        expected.append(reference.forward(expected[-1]).argmax(-1))
    assert torch.equal(found, torch.cat(expected))


def test_quantised_weights_stream_exactly_and_err_little(tmp_path: Path, folder: Path) -> None:
    """A quarter of the bytes; the logits are those of the dequantised resident model, near those of float32."""
    quantised = make_folder(tmp_path / "int8", MODEL, seed=3, quantised=True)
    config = small(quantise=True)
    with opened(quantised, MODEL, config) as store, streaming(store, config) as streamer:
        logits, _ = streamed(quantised, streamer).passes(IDS, 2)
        with opened(folder, MODEL, small()) as whole:
            assert store.layer_bytes < 0.3 * whole.layer_bytes
    assert torch.equal(logits, resident_logits(quantised))
    assert 0 < relative_error(logits, resident_logits(folder)) < 0.05


def test_what_it_is_measured_against_computes_the_same(folder: Path) -> None:
    """In turn, the seed's scheme, accelerate's offload: the same bits. The seed's cache never hits."""
    expected, config, stays = resident_logits(folder), small(), staying_weights(folder, MODEL, "float32")
    for make in (baselines.SerialStreamer, baselines.seed_scheme):
        with opened(folder, MODEL, config) as store, streaming(store, config, make) as streamer:
            logits, trace = streamed(folder, streamer).passes(IDS, 3)
        assert torch.equal(logits, expected)
        assert len(trace.loads) == 3 * MODEL.layers
        assert trace.overlap().overlap_efficiency == 0
    if accelerated.available():
        with accelerated.on_disk(folder, MODEL, stays, IDS, "float32") as passes:
            assert torch.equal(passes(2), expected)


def test_phases_and_lanes(folder: Path) -> None:
    """The account has the stall, the arithmetic and the eviction once a layer; loads lie on the reader's own lane."""
    config = small()
    with opened(folder, MODEL, config) as store, streaming(store, config) as streamer:
        model = streamed(folder, streamer)
        with recording(Recorder()) as recorder:
            model.passes(IDS, 2)
    found = recorder.take_round()
    assert {path: row[2] for path, row in found.totals.items()} == {
        "weight_wait": 2 * MODEL.layers,
        "compute": 2 * MODEL.layers,
        "evict": 2 * MODEL.layers,
        "head": 2,
    }
    lanes = [span.lane for span in found.spans if span.path == "weight_load"]
    assert lanes == 2 * MODEL.layers * ["weight-reader-0"]


def test_a_profiler_sees_the_same_names(folder: Path) -> None:
    """Torch's profiler records weight_wait, compute and evict, once a layer."""
    config = small()
    with opened(folder, MODEL, config) as store, streaming(store, config) as streamer:
        model = streamed(folder, streamer)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            model.passes(IDS, 1)
    counts = {each.key: each.count for each in profile.key_averages()}
    assert [counts[name] for name in ("weight_wait", "compute", "evict")] == 3 * [MODEL.layers]


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no /proc/self/io on this system")
@pytest.mark.parametrize(
    ("changes", "from_disk"), [({}, False), ({"drop_cache": True}, True), ({"direct_io": True}, True)]
)
def test_where_the_bytes_came_from_is_known(tmp_path: Path, changes: dict[str, Any], from_disk: bool) -> None:
    """A warm page cache gives all of them, a dropped or bypassed one none: counted by the system, not assumed."""
    folder = make_folder(tmp_path / "weights", MODEL)
    config = small(**changes)
    validity.warm(folder / FILE)
    assert validity.cached_fraction(folder / FILE) == 1.0
    with opened(folder, MODEL, config) as store, streaming(store, config) as streamer:
        for layer in range(MODEL.layers if config.drop_cache else 0):
            store.drop(layer)
        before = validity.disk_bytes()
        streamed(folder, streamer).passes(IDS, 2)
        read = validity.disk_bytes() - before
        # a page at a layer's edge is both neighbours' and comes once, readahead brings some that nobody asked for
        assert (read >= store.model_bytes) if from_disk else (read == 0)


def test_the_command_bounds_memory(tmp_path: Path) -> None:
    """64 MiB of layers stream through 3 places of 2 MiB: resident memory grows by those, not by the model."""
    done = subprocess.run(
        [sys.executable, "-m", "perfguard_suites.weight_streaming", "run", "--model", "2MiB", "--passes", "1", "--json",
         "--max-cached-layers", "2", "--buffers", "1", "--prefetch-distance", "2", "--rows", "1"],
        capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["resident_layers_max"] <= found["slots"] == 3
    assert found["rss_growth_bytes"] < 0.5 * found["layers"] * found["layer_bytes"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(bool(needs_cuda()), reason=needs_cuda() or "there is one")
@pytest.mark.parametrize("home", ["file", "host"])
@pytest.mark.parametrize("policy", POLICIES)
def test_streaming_to_cuda(folder: Path, home: Any, policy: Any) -> None:
    """The same bits as the model resident on the device, from the file and from pinned memory, on two copy streams."""
    config = small(policy=policy, buffers=2)
    expected = ReferenceModel(MODEL, resident_weights(folder, MODEL), 16, device="cuda").forward(IDS)
    with opened(folder, MODEL, config) as store, CudaStreamer(store, config, "cuda", home, 2) as streamer:
        model = StreamedModel(MODEL, staying_weights(folder, MODEL, "float32"), streamer, 16, "cuda")
        for _ in range(3):
            logits, trace = model.passes(IDS, 4)
            assert torch.equal(logits, expected)
        assert len(trace.computes) == 4 * MODEL.layers
        assert trace.most_present <= config.slots


@pytest.mark.skipif(not needs_cuda(), reason="there is a CUDA device")
def test_without_cuda_its_memory_says_so(folder: Path) -> None:
    """A clear error, and no half-open streamer."""
    config = small()
    with opened(folder, MODEL, config) as store, pytest.raises(StreamingConfigError, match="no CUDA device"):
        CudaStreamer(store, config)
