"""llama.cpp's C API through its Python binding, imported when first asked for; its messages are kept, not printed."""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib
import importlib.util
import re
import sys
from collections import deque
from pathlib import Path
from typing import Any

from perfguard_suites.staged_throughput.errors import BackendUnavailable, ModelFileError

MOST_MESSAGES = 50
WARNING, ERROR = 3, 4  # ggml's levels; 5 goes on with the message before
ADVICE = "make perf-llamacpp installs it (it is compiled: some 10 minutes), or pip install 'perfguard[llamacpp]'"


class Library:
    """The binding's module as `api`, and the pointers that it would wrap anew on each call as plain numbers.

    `messages`: levels and words of llama.cpp's warnings and errors since the last that was asked for.
    """

    def __init__(self, api: Any) -> None:
        self.api = api
        self.messages: deque[tuple[int, str]] = deque(maxlen=MOST_MESSAGES)
        self.get_logits = _plain(api, "llama_get_logits", ctypes.c_void_p, ctypes.c_void_p)
        self._callback = api.llama_log_callback(self._keep)  # llama.cpp holds no reference
        api.llama_log_set(self._callback, None)
        api.llama_backend_init()

    @property
    def system(self) -> str:
        """The instruction sets and options that it was built with."""
        info: bytes = self.api.llama_print_system_info()
        return info.decode().strip()

    @property
    def version(self) -> str:
        """llama.cpp's own, and the binding's."""
        package = importlib.import_module("llama_cpp")
        return f"llama.cpp {self.api.llama_version().decode()}, llama-cpp-python {package.__version__}"

    def said(self) -> str:
        """The first error, which those after it are consequences of, or else the last warning."""
        told = list(self.messages)
        self.messages.clear()
        errors = [words for level, words in told if level == ERROR]
        return (errors or [words for _, words in told[-1:]] or ["it did not say why"])[0]

    def _keep(self, level: int, text: bytes, _data: object) -> None:
        words = text.decode("utf-8", "replace").strip()
        if WARNING <= level <= ERROR and words:
            self.messages.append((level, re.sub(r"^\w+: ", "", words)))


def _plain(api: Any, name: str, result: Any, *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(result, *arguments)((name, api._lib))  # noqa: SLF001 - the loaded library, under no other name


@functools.cache
def library() -> Library:
    """The one there is. Raises `BackendUnavailable` where the binding is not installed, or does not load."""
    try:
        api = importlib.import_module("llama_cpp.llama_cpp")
        atexit.register(_close_null_files)
        return Library(api)
    except ImportError as error:
        raise BackendUnavailable("llama.cpp", f"its binding is not installed: {error}", ADVICE) from error
    except (OSError, RuntimeError, AttributeError) as error:
        raise BackendUnavailable("llama.cpp", f"its binding does not load: {error!s:.200}", ADVICE) from error


def _close_null_files() -> None:
    """The binding opens /dev/null when imported, and leaves it open: with warnings on, Python says so at its end."""
    utils = sys.modules.get("llama_cpp._utils")
    for name in ("outnull_file", "errnull_file"):
        file = getattr(utils, name, None)
        if file is not None:
            file.close()


def installed() -> bool:
    """Whether the binding is there."""
    return importlib.util.find_spec("llama_cpp") is not None


def load_model(path: Path, *, words_alone: bool = False) -> Any:
    """A model's handle, to be freed with `llama_model_free`. `words_alone`: its tokenizer only.

    Raises `ModelFileError` with llama.cpp's own reason. A file that was not made here belongs in `trial` first.
    """
    lib = library()
    parameters = lib.api.llama_model_default_params()
    parameters.n_gpu_layers = 0
    parameters.vocab_only = words_alone
    parameters.check_tensors = not words_alone
    lib.messages.clear()
    model = lib.api.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise ModelFileError(str(path), f"llama.cpp cannot load it: {lib.said():.200}", "make or download it again")
    return model
