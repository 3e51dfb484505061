"""Broken model files: the user's command says which and how in one line, and llama.cpp ends no process of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from staged_llama import NEEDS_BINDING, SMALLEST

from perfguard_suites.staged_throughput.errors import BackendUnavailable, ModelFileError
from perfguard_suites.staged_throughput.llamacpp.gguf_model import write_gguf
from perfguard_suites.staged_throughput.llamacpp.library import installed, library
from perfguard_suites.staged_throughput.llamacpp.trial import try_file

pytest.importorskip("gguf")
TIMEOUT_S = 60


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The smallest model's file, to be broken."""
    path = tmp_path / "model.gguf"
    write_gguf(path, SMALLEST, half=True)
    return path


def test_a_cut_off_file_is_named_in_one_line(model: Path) -> None:
    """`serve --gguf` on half a file: one line with the file and what is wrong, a status, no traceback, no server."""
    model.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    command = [sys.executable, "-m", "perfguard_suites.staged_throughput", "serve", "--port=0", f"--gguf={model}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert str(model) in line
    assert "is cut off" in line


@NEEDS_BINDING
def test_what_llamacpp_asserts_ends_another_process(model: Path) -> None:
    """A word twice in the vocabulary, on which llama.cpp aborts: file and assertion are named, and we live on."""
    data = model.read_bytes()
    model.write_bytes(data.replace(b"\x01\x00\x00\x00\x00\x00\x00\x00B", b"\x01\x00\x00\x00\x00\x00\x00\x00A", 1))
    with pytest.raises(ModelFileError) as found:
        try_file(model)
    assert str(model) in str(found.value)
    assert "GGML_ASSERT" in str(found.value)


@NEEDS_BINDING
def test_what_llamacpp_refuses_is_told_in_its_words(model: Path) -> None:
    """A tensor under a wrong name, which the head's check cannot know: llama.cpp's own reason, with the file."""
    model.write_bytes(model.read_bytes().replace(b"blk.0.attn_k.weight", b"blk.0.attn_x.weight"))
    with pytest.raises(ModelFileError) as found:
        try_file(model)
    assert str(model) in str(found.value)
    assert "attn_k.weight" in str(found.value)


@pytest.mark.skipif(installed(), reason="llama-cpp-python is installed")
def test_without_the_binding_the_error_says_how_to_get_it() -> None:
    """Where it is not installed: what is missing, and the command that installs it."""
    with pytest.raises(BackendUnavailable, match="make perf-llamacpp"):
        library()
