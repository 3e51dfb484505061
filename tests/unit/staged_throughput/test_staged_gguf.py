"""GGUF files: what is written is what others read, and whatever is cut off or broken in one is named."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staged_llama import SMALLEST

from perfguard_suites.split_rpc.weights import module_weight
from perfguard_suites.staged_throughput.errors import ModelFileError
from perfguard_suites.staged_throughput.llamacpp.files import model_file
from perfguard_suites.staged_throughput.llamacpp.gguf_check import check_gguf
from perfguard_suites.staged_throughput.llamacpp.gguf_model import byte_letters, write_gguf
from perfguard_suites.staged_throughput.weights import qwen3_weights

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest model's file."""
    path = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    write_gguf(path, SMALLEST, half=True)
    return path


def broken(whole: Path, tmp_path: Path, data: bytes) -> str:
    """What is said of a file with other bytes; the file is named."""
    path = tmp_path / "broken.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as found:
        check_gguf(path)
    assert str(path) in str(found.value)
    return str(found.value)


def test_ggufs_own_reader_finds_the_weights(whole: Path) -> None:
    """Tensors read back by the gguf package are the torch backend's weights, in float16, where our check says."""
    reader = gguf.GGUFReader(whole)
    ours = check_gguf(whole)
    assert {each.name: int(each.data_offset) for each in reader.tensors} == {
        name: info.begin for name, info in ours.tensors.items()
    }
    found = {each.name: each.data for each in reader.tensors}
    weights = qwen3_weights(SMALLEST, 1)
    assert len(found) == len(weights)
    for name, source in (("blk.0.attn_k.weight", module_weight(0, "k_proj")), ("output.weight", "lm_head.weight")):
        np.testing.assert_array_equal(found[name], weights[source].numpy().astype(np.float16))
    assert found["output_norm.weight"].dtype == np.float32


def test_a_file_cut_off_anywhere_is_named(whole: Path, tmp_path: Path) -> None:
    """Of whatever length, what is left of a file is refused, with what is missing."""
    data = whole.read_bytes()
    head = min(info.begin for info in check_gguf(whole).tensors.values())
    for length in [*range(4, head, 97), head, len(data) - 40]:
        assert "is cut off" in broken(whole, tmp_path, data[:length]), length
    assert "is empty" in broken(whole, tmp_path, b"")
    assert "is no GGUF" in broken(whole, tmp_path, b"GGUX" + data[4:])


@settings(max_examples=150)
@given(st.data())
def test_broken_bytes_are_an_error_or_harmless(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Eight bytes overwritten anywhere in the head: the file is refused by name, or all its tensors lie within it."""
    original = whole.read_bytes()
    head = min(info.begin for info in check_gguf(whole).tensors.values())
    at = data.draw(st.integers(0, head - 8))
    path = tmp_path_factory.getbasetemp() / "bytes.gguf"
    path.write_bytes(original[:at] + data.draw(st.binary(min_size=8, max_size=8)) + original[at + 8 :])
    problem = ""
    try:
        found = check_gguf(path)
    except ModelFileError as error:
        problem = str(error)
    if problem:
        assert str(path) in problem
    else:
        assert all(info.begin + info.size <= len(original) for info in found.tensors.values())


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("qwen3.block_count", 0, "qwen3.block_count: 0 cannot be"),
        ("qwen3.attention.head_count", 1 << 31, "head_count: 2147483648 cannot be"),
    ],
)
def test_figures_that_cannot_be_are_named(whole: Path, tmp_path: Path, key: str, value: int, words: str) -> None:
    """Layers or heads that there cannot be: file and key are named."""
    data = whole.read_bytes()
    at = data.index(key.encode()) + len(key) + 4
    assert words in broken(whole, tmp_path, data[:at] + struct.pack("<I", value) + data[at + 4 :])


def test_the_cache_makes_a_file_once_and_leaves_nothing_else(tmp_path: Path) -> None:
    """A second asking finds the same file untouched; a damaged one is named, not used; no half-made file stays."""
    made = model_file(SMALLEST, "f16", folder=tmp_path)
    before = made.stat()
    assert model_file(SMALLEST, "f16", folder=tmp_path) == made
    assert (made.stat().st_ino, made.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [made]
    os.truncate(made, before.st_size - 100)
    with pytest.raises(ModelFileError, match="is cut off"):
        model_file(SMALLEST, "f16", folder=tmp_path)
    blocked = tmp_path / "no folder"
    blocked.write_text("")
    with pytest.raises(ModelFileError, match="cannot be made"):
        model_file(SMALLEST, "f16", folder=blocked)


def test_every_byte_has_a_letter() -> None:
    """As in GPT-2's vocabulary: 256 different characters, none of them white space, and the known ones."""
    letters = byte_letters()
    assert len(set(letters)) == 256
    assert not any(letter.isspace() for letter in letters)
    assert (letters[ord(" ")], letters[ord("A")], letters[ord("\n")]) == ("Ġ", "A", "Ċ")
