"""llama.cpp's own C++ server, which the wheel `xllamacpp` carries: a process that stage 7 is compared with."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import psutil

from perfguard_suites.staged_throughput.errors import BackendUnavailable, ServiceFailed

if TYPE_CHECKING:
    from typing_extensions import Self

START_TIMEOUT_S = 300.0
END_TIMEOUT_S = 30.0
ADVICE = "pip install 'perfguard[llamacpp]', or make perf-llamacpp"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself once it listens: where, which model, what it was built for."""

    url: str
    model: str
    system: str


class ServerProcess:
    """A server started by a command that prints one JSON line with `url` when it is ready; ended as a context."""

    def __init__(self, command: list[str], name: str, timeout_s: float = START_TIMEOUT_S) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._said: list[str] = []
        self._first: queue.SimpleQueue[str] = queue.SimpleQueue()
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, True), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, False), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            line = self._first.get(timeout=timeout_s)
            told = json.loads(line)
            self.facts = Facts(told["url"], told["model"], told.get("system", ""))
        except (queue.Empty, ValueError, KeyError, TypeError) as error:
            self.close()
            words = self._said[-1] if self._said else f"nothing within {timeout_s:g} s"
            raise ServiceFailed(name, f"did not start: {words:.300}") from error
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def cpu_s(self) -> float:
        """CPU seconds of it and its descendants so far."""
        process = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def close(self) -> None:
        """End it; idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(END_TIMEOUT_S)
        for reader in self._readers:
            reader.join(END_TIMEOUT_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, pipe: IO[str], first: bool) -> None:
        for line in pipe:
            if first:
                self._first.put(line)
            elif line.strip():
                self._said.append(line.strip())
                del self._said[:-20]
        if first:
            self._first.put("")


def installed() -> bool:
    """Whether the server's wheel is there."""
    return importlib.util.find_spec("xllamacpp") is not None


def cpp_server(path: Path, *, threads: int, slots: int, capacity: int, unified: bool) -> ServerProcess:
    """llama.cpp's server on a free port of loopback. Raises `BackendUnavailable` and `ServiceFailed`."""
    if not installed():
        raise BackendUnavailable("llama.cpp's server", "xllamacpp, which carries it, is not installed", ADVICE)
    options = {"--threads": threads, "--slots": slots, "--capacity": capacity}
    command = [sys.executable, "-m", __name__, str(path), *(f"{name}={value}" for name, value in options.items())]
    return ServerProcess([*command, *(["--unified"] if unified else [])], "llama.cpp's server")


def main() -> int:
    """In the process of its own: serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path)
    for name in ("threads", "slots", "capacity"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--unified", action="store_true", help="one KV cache for all sequences")
    options = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    xllamacpp: Any = importlib.import_module("xllamacpp")
    server = xllamacpp.Server(_parameters(xllamacpp.CommonParams(), options))
    said = {
        "url": server.listening_address,
        "model": options.gguf.name,
        "system": f"xllamacpp {xllamacpp.__version__}; {xllamacpp.get_system_info()}",
    }
    print(json.dumps(said), flush=True)
    ended.wait()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # its destructor waits for connections that a client keeps open


def _parameters(parameters: Any, options: argparse.Namespace) -> Any:
    """Its defaults, but for what must be equal, and for memory between requests: no prompt comes twice."""
    parameters.model.path = str(options.gguf)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.slots * options.capacity
    parameters.kv_unified = options.unified
    parameters.n_gpu_layers = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = options.threads
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.verbosity = 1
    return parameters


if __name__ == "__main__":
    sys.exit(main())
