"""The model files that are made here, kept in the user's cache folder: a name stands for a whole file or for none."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.threads import usable_cpus
from perfguard_suites.staged_throughput.errors import ModelFileError
from perfguard_suites.staged_throughput.llamacpp import KINDS
from perfguard_suites.staged_throughput.llamacpp.gguf_check import check_gguf
from perfguard_suites.staged_throughput.llamacpp.gguf_model import write_gguf
from perfguard_suites.staged_throughput.llamacpp.library import library

FORMAT = 1  # of what `write_gguf` writes: another number is another file
# llama.cpp's number of the file type, of those that are quantised from f16.
QUANTISED: Mapping[str, str] = {"q4_k_m": "LLAMA_FTYPE_MOSTLY_Q4_K_M", "q8_0": "LLAMA_FTYPE_MOSTLY_Q8_0"}

Say = Callable[[str], object]


def cache_folder() -> Path:
    """`perfguard/models` in the user's cache folder (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perfguard" / "models"


def model_file(
    config: ModelConfig, kind: str, *, seed: int = 1, folder: Path | None = None, say: Say = lambda _: None
) -> Path:
    """The GGUF of a model with seeded weights, made if it is not there yet.

    `kind`: f32, f16, q8_0 or q4_k_m. It is written beside its place and then renamed, so that of two processes each
    finds a whole file. Raises `ModelFileError`.
    """
    if kind not in KINDS:
        raise ModelFileError(f"kind {kind!r:.20}", "is unknown", f"one of {', '.join(KINDS)}")
    folder = cache_folder() if folder is None else folder
    found = folder / f"qwen3-{config.name}-{config.digest}-seed{seed}-v{FORMAT}-{kind}.gguf"
    if found.exists():
        check_gguf(found)
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as making:
            made = Path(making) / found.name
            say(f"making {found} (once)")
            if kind in QUANTISED:
                _quantise(_plain(config, seed, folder, Path(making)), made, kind)
            else:
                write_gguf(made, config, half=kind == "f16", seed=seed)
            check_gguf(made)
            made.replace(found)
    except OSError as error:
        raise ModelFileError(str(found), f"cannot be made: {error.strerror or error}", "is there room?") from error
    return found


def _plain(config: ModelConfig, seed: int, folder: Path, making: Path) -> Path:
    """The f16 file to quantise: the one in the cache, or one that is thrown away afterwards."""
    kept = folder / f"qwen3-{config.name}-{config.digest}-seed{seed}-v{FORMAT}-f16.gguf"
    if kept.exists():
        return kept
    made = making / kept.name
    write_gguf(made, config, half=True, seed=seed)
    return made


def _quantise(source: Path, target: Path, kind: str) -> None:
    lib = library()
    parameters = lib.api.llama_model_quantize_default_params()
    parameters.ftype = getattr(lib.api, QUANTISED[kind])
    parameters.nthread = usable_cpus()
    lib.messages.clear()
    if lib.api.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)):
        raise ModelFileError(str(source), f"llama.cpp cannot quantise it to {kind}: {lib.said():.200}")
