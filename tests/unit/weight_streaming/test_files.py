"""Headers, plans of reads, int8 weights, and the picture."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from streamed_models import MODEL, sharded_folder, small

from perfguard_suites.split_rpc.weights import random_weights, tensor_shapes
from perfguard_suites.weight_streaming.errors import WeightsFileError
from perfguard_suites.weight_streaming.headers import read_header
from perfguard_suites.weight_streaming.making import FILE, make_folder
from perfguard_suites.weight_streaming.quantising import LEVELS, dequantise, quantise_rows
from perfguard_suites.weight_streaming.store import LINE, opened
from perfguard_suites.weight_streaming.timeline import Panel, timeline_svg
from perfguard_suites.weight_streaming.trace import Stretch, Trace


def test_a_made_file_is_what_the_format_says(tmp_path: Path) -> None:
    """The format's own library reads the same tensors, and finds no hole."""
    from safetensors.torch import load_file

    make_folder(tmp_path, MODEL, seed=3)
    expected = random_weights(MODEL, 3)
    found = load_file(tmp_path / FILE)
    assert found.keys() == expected.keys() == read_header(tmp_path / FILE).keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def written(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """A file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


@pytest.mark.parametrize(
    ("header", "data", "problem"),
    [
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234567", "truncated"),
        ({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"12345678", "8 bytes for a shape"),
        ({"w": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}}, b"12345678", "not described"),
        ({"w": {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}}, b"12345678", "not described"),
        ({"w": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}}, b"12345678", "not described"),
        ({"w": 3}, b"", "not described"),
        ([], b"", "not a JSON object"),
        (b"{", b"", "not JSON"),
        (b"\xff\xfe", b"", "not JSON"),
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, header: object, data: bytes, problem: str) -> None:
    """Each with its file, its tensor and what is wrong."""
    with pytest.raises(WeightsFileError, match=problem):
        read_header(written(tmp_path / "w.safetensors", header, data))


def test_a_header_longer_than_its_file_is_not_read(tmp_path: Path) -> None:
    """A length of 2^63 in a file of 10 bytes allocates nothing; and a file of three bytes has none."""
    with pytest.raises(WeightsFileError, match="a header of"):
        read_header(written(tmp_path / "w.safetensors", b"{}", length=1 << 63))
    (tmp_path / "short.safetensors").write_bytes(b"abc")
    with pytest.raises(WeightsFileError, match="no header"):
        read_header(tmp_path / "short.safetensors")


@pytest.mark.parametrize("direct", [False, True])
def test_a_plan_covers_every_byte_once(tmp_path: Path, direct: bool) -> None:
    """Requests fill each tensor's place from its own bytes of the file, in files of any layout."""
    for folder in (make_folder(tmp_path / "made", MODEL), sharded_folder(tmp_path / "sharded")):
        with opened(folder, MODEL, small(direct_io=direct)) as store:
            plans = store.plans
        for plan in plans:
            source = np.full((plan.size_bytes, 2), -1)  # file and offset of each byte of the layer's memory
            for request in plan.requests:
                at = request.offset
                for begin, end in request.stretches:
                    assert (source[begin:end] == -1).all()
                    source[begin:end, 0] = request.file
                    source[begin:end, 1] = np.arange(at, at + end - begin)
                    at += end - begin
            stored = {tensor.name: tensor for tensor in plan.stored}
            for placed in plan.tensors:
                tensor = stored[placed.name]
                found = source[placed.offset : placed.offset + tensor.size_bytes]
                assert len(set(found[:, 0])) == 1
                assert (found[:, 1] == np.arange(tensor.offset, tensor.offset + tensor.size_bytes)).all()
                assert direct or placed.offset % LINE == 0


def test_int8_weights_are_off_by_half_a_step_at_most() -> None:
    """max|row| / 254, in every row, whatever its scale; a row of zeros stays one."""
    weight = torch.randn(7, 33, generator=torch.Generator().manual_seed(1)) * torch.logspace(-6, 6, 7)[:, None]
    weight[3] = 0
    stored, scales = quantise_rows(weight)
    found = dequantise(stored, scales, torch.empty_like(weight))
    assert stored.dtype is torch.int8
    bound = weight.abs().amax(dim=1) / (2 * LEVELS) * (1 + 1e-5)
    assert bool(((found - weight).abs().amax(dim=1) <= bound).all())


def test_a_model_lacks_no_tensor_in_its_folder(tmp_path: Path) -> None:
    """What the configuration names is what is written, quantised or not."""
    names = set(read_header(make_folder(tmp_path / "q", MODEL, quantised=True) / FILE))
    assert {name for name in names if not name.endswith(".scale")} == set(tensor_shapes(MODEL))


def test_the_picture_shows_every_interval() -> None:
    """An SVG with a bar for each load, compute and wait, captions escaped."""
    trace = Trace(0, 1_000_000)
    trace.loads.append(Stretch(0, 0, 400_000, "reader"))
    trace.computes.append(Stretch(0, 400_000, 1_000_000))
    trace.waits.append(Stretch(0, 0, 400_000))
    root = ET.fromstring(timeline_svg([Panel("a < b", trace), Panel("c", trace)]))
    titles = [each.text for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert sorted(titles) == sorted(
        2 * ["layer 0: load, 0.40 ms", "layer 0: compute, 0.60 ms", "layer 0: wait, 0.40 ms"]
    )
