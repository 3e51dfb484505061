"""A model file tried in a process of its own: what makes llama.cpp abort there does not end the server or the tests.

llama.cpp refuses most of what is wrong with a file, but asserts some of it, and an assertion ends the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from perfguard.errors import PerfguardError
from perfguard_suites.staged_throughput.errors import ModelFileError
from perfguard_suites.staged_throughput.llamacpp.gguf_check import check_gguf

TIMEOUT_S = 300.0
_ADVICE = "make or download it again"


def try_file(path: Path, timeout_s: float = TIMEOUT_S) -> None:
    """That a file is a whole GGUF which llama.cpp can load and compute with. Raises `ModelFileError` naming it."""
    check_gguf(path)
    command = [sys.executable, "-m", __name__, str(path)]
    # Without its backtrace, for which llama.cpp would start a debugger.
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(str(path), f"llama.cpp did not load it within {timeout_s:g} s") from None
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode < 0:
        reason = next((line for line in lines if "GGML_ASSERT" in line), lines[-1] if lines else "")
        raise ModelFileError(str(path), f"llama.cpp gave up on it (signal {-done.returncode}): {reason:.200}", _ADVICE)
    raise ModelFileError(str(path), lines[-1][:300] if lines else "llama.cpp cannot load it", _ADVICE)


def main(path: str) -> int:
    """In the process of its own: load, and compute one token."""
    from perfguard_suites.staged_throughput.backend import Batch
    from perfguard_suites.staged_throughput.llamacpp.backend import LlamaCppBackend

    try:
        backend = LlamaCppBackend(Path(path), slots=1, capacity=16, threads=1)
        backend.forward_batch(Batch([0], [[0]], [0]))
    except PerfguardError as error:
        problem = getattr(error, "problem", str(error))
        print(problem, file=sys.stderr)
        return 1
    backend.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
