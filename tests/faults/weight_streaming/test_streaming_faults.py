"""Weights that are damaged, change, stall or cannot be read: the caller learns it at once, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from streamed_models import IDS, MODEL, resident_logits, small, streamed

from perfguard_suites.weight_streaming.config import StreamingConfig
from perfguard_suites.weight_streaming.errors import (
    ReadFailed,
    ReadStalled,
    StreamingError,
    WeightsChanged,
    WeightsFileError,
)
from perfguard_suites.weight_streaming.making import FILE, make_folder
from perfguard_suites.weight_streaming.store import LayerStore, opened
from perfguard_suites.weight_streaming.streamer import Streamer, streaming

QUERY = "model.layers.2.self_attn.q_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of its own for each test."""
    return make_folder(tmp_path / "weights", MODEL, seed=3)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No reader outlives its streamer, and no file stays open."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert [each.name for each in threading.enumerate() if each.name.startswith("weight-reader")] == []
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_truncated_file_is_refused_when_it_is_opened(folder: Path) -> None:
    """The first tensor beyond the end is named, with both sizes."""
    os.truncate(folder / FILE, (folder / FILE).stat().st_size // 2)
    with pytest.raises(WeightsFileError, match=r"model\.layers.*truncated"), opened(folder, MODEL, small()):
        pass


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda weights: weights.pop(QUERY), f"1 tensors are missing: {QUERY}"),
        (lambda weights: weights.update({QUERY: weights[QUERY].half()}), "torch.float16, not"),
        (lambda weights: weights.update({QUERY: weights[QUERY][:5].clone()}), r"is \(5, 64\)"),
    ],
)
def test_missing_and_ill_typed_tensors_are_named(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], problem: str
) -> None:
    """Before anything is streamed."""
    weights = load_file(folder / FILE)
    change(weights)
    save_file(weights, folder / FILE)
    with pytest.raises(WeightsFileError, match=problem), opened(folder, MODEL, small()):
        pass


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(WeightsFileError, match=r"no \*\.safetensors"), opened(tmp_path, MODEL, small()):
        pass


def test_int8_weights_are_not_taken_for_floats(folder: Path) -> None:
    """`quantise` for a file that is not."""
    with pytest.raises(WeightsFileError, match=r"torch\.int8"), opened(folder, MODEL, small(quantise=True)):
        pass


def test_a_file_cut_off_while_streaming_ends_the_pass(folder: Path) -> None:
    """The layer and the byte are named; the streamer stays broken."""
    with opened(folder, MODEL, small()) as store, streaming(store, small()) as streamer:
        model = streamed(folder, streamer)
        model.passes(IDS, 1)
        os.truncate(folder / FILE, 3 * store.layer_bytes)
        with pytest.raises(WeightsFileError, match=r"layer \d.*it was longer when it was opened"):
            model.passes(IDS, 1)
        with pytest.raises(WeightsFileError, match="longer"):
            model.passes(IDS, 1)


def test_a_file_written_to_while_streaming_gives_no_logits(folder: Path) -> None:
    """A pass over weights of two ages is an error, not a result."""
    with opened(folder, MODEL, small()) as store, streaming(store, small()) as streamer:
        model = streamed(folder, streamer)
        model.passes(IDS, 1)
        with (folder / FILE).open("r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(b"\0" * 8)
        os.utime(folder / FILE, ns=(1, 1))  # a clock so coarse that writing left no other trace
        with pytest.raises(WeightsChanged, match="was changed while its layers were streamed"):
            model.passes(IDS, 1)


def test_a_file_replaced_by_another_is_streamed_on_as_it_was(folder: Path, tmp_path: Path) -> None:
    """Renaming a new file over the old one is safe: the old one is open."""
    expected = resident_logits(folder)
    with opened(folder, MODEL, small()) as store, streaming(store, small()) as streamer:
        model = streamed(folder, streamer)
        model.passes(IDS, 1)
        (make_folder(tmp_path / "other", MODEL, seed=4) / FILE).replace(folder / FILE)
        logits, _ = model.passes(IDS, 1)
    assert torch.equal(logits, expected)
    assert not torch.equal(resident_logits(folder), expected)


def test_a_read_error_of_the_system_is_told_with_its_place(folder: Path) -> None:
    """A descriptor that cannot be read (here: a directory's) fails in the reader and reaches the caller."""
    with opened(folder, MODEL, small()) as store, streaming(store, small()) as streamer:
        model = streamed(folder, streamer)
        model.passes(IDS, 1)
        directory = os.open(folder, os.O_RDONLY)
        os.dup2(directory, store.descriptors[0])
        os.close(directory)
        with pytest.raises(ReadFailed, match=r"layer \d: .*model.safetensors: reading at byte \d+: .*directory"):
            model.passes(IDS, 1)


class GatedStore(LayerStore):
    """A store whose reads of one layer wait at a gate, as at a disk that stalls; or whose reader dies there."""

    def __init__(self, folder: Path, config: StreamingConfig, layer: int, dies: bool = False) -> None:
        super().__init__(folder, MODEL, config)
        self.layer, self.dies = layer, dies
        self.reached, self.gate = threading.Event(), threading.Event()

    def read(self, layer: int, memory: memoryview, stopped: Callable[[], bool] = lambda: False) -> bool:
        """As the store does, after the gate."""
        if layer == self.layer:
            self.reached.set()
            if self.dies:
                raise SystemExit("a reader thread that ends")
            assert self.gate.wait(30)
        return super().read(layer, memory, stopped)


def test_a_stall_is_shown_and_passes(folder: Path) -> None:
    """The compute waits for the layer whose read hangs, and goes on with the right bits."""
    store = GatedStore(folder, small(), layer=3)
    with streaming(store, small()) as streamer:
        opener = threading.Thread(target=lambda: store.reached.wait(30) and store.gate.set())
        opener.start()
        logits, trace = streamed(folder, streamer).passes(IDS, 1)
        opener.join(30)
    store.close()
    assert torch.equal(logits, resident_logits(folder))
    assert [each.layer for each in trace.waits] == list(range(MODEL.layers))


def test_a_stall_beyond_the_limit_names_its_layer(folder: Path) -> None:
    """No deadlock: `ReadStalled` after `stall_limit_s`, and the streamer closes once the disk answers."""
    config = small(stall_limit_s=0.01)
    store = GatedStore(folder, config, layer=3)
    with streaming(store, config) as streamer:
        with pytest.raises(ReadStalled, match="layer 3"):
            streamed(folder, streamer).passes(IDS, 1)
        store.gate.set()
    store.close()


def test_a_reader_that_dies_is_told_at_once(folder: Path) -> None:
    """Even where it ends by SystemExit, which threads swallow."""
    store = GatedStore(folder, small(), layer=2, dies=True)
    with (
        streaming(store, small()) as streamer,
        pytest.raises(ReadFailed, match=r"layer 2: its reader died: SystemExit"),
    ):
        streamed(folder, streamer).passes(IDS, 1)
    store.close()


def test_a_kept_layer_that_cannot_be_read_fails_the_opening(folder: Path) -> None:
    """`resident` loads its layers first; the readers end with the error."""
    config = small(policy="resident")
    store = GatedStore(folder, config, layer=0, dies=True)
    with pytest.raises(ReadFailed, match="layer 0"):
        Streamer(store, config)
    store.close()


def test_a_closed_streamer_says_so(folder: Path) -> None:
    """And may be closed again."""
    with opened(folder, MODEL, small()) as store:
        streamer = Streamer(store, small())
        streamer.close()
        streamer.close()
        with pytest.raises(StreamingError, match="is closed"):
            streamer.begin()


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Interrupted in the middle of a pass: status 130, one line, its weights removed, no traceback."""
    command = [
        sys.executable,
        "-m",
        "perfguard_suites.weight_streaming",
        "run",
        "--model",
        "tiny",
        "--passes",
        "10000000",
    ]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stderr is not None
        assert "passes follow" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip() == "weight_streaming: interrupted"
    assert list(tmp_path.iterdir()) == []
