"""The load client as a process of its own: its Python must not take turns with the server's. Loads no torch.

One JSON object a line: a load and an endpoint come in on stdin, the run goes out on stdout.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from perfguard.errors import PerfguardError
from perfguard.ladder import Endpoint, Load, RequestTimes, StageRun, run_load
from perfguard_suites.staged_throughput.errors import ServiceFailed
from perfguard_suites.staged_throughput.interpreter import polite
from perfguard_suites.staged_throughput.loads import prompt_text, request_name

RUN_TIMEOUT_S = 600.0
END_TIMEOUT_S = 10.0


class NamedEndpoint(Endpoint):
    """An endpoint that is told which request of the load each is, so that a schedule can be followed."""

    def post(self, load: Load, index: int) -> bytes:
        """See `Endpoint`."""
        return Endpoint.post(replace(self, extras={**self.extras, "request_id": request_name(index)}), load, index)


class LoadClient:
    """The client process, kept for many loads. `start` and `result` of one load; `close` at the end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="load client", daemon=True)
        self._reader.start()
        self._on_done: list[Any] = []

    def start(self, load: Load, host: str, port: int, model: str, on_done: Any) -> None:
        """Put the load on a server; `on_done()` is called, in a thread, when it has ended or failed."""
        assert self._process.stdin is not None
        self._on_done.append(on_done)
        try:
            self._process.stdin.write(
                json.dumps({"load": asdict(load), "host": host, "port": port, "model": model}) + "\n"
            )
            self._process.stdin.flush()
        except OSError as error:
            raise ServiceFailed("load client", f"has ended: {error}") from error

    def result(self, timeout_s: float = RUN_TIMEOUT_S) -> StageRun:
        """The load's run. Raises `ServiceFailed` with what went wrong."""
        try:
            found = json.loads(self._lines.get(timeout=timeout_s))
        except queue.Empty:
            raise ServiceFailed("load client", f"no result within {timeout_s:g} s") from None
        if "error" in found:
            raise ServiceFailed("load client", found["error"])
        return _run_of(found)

    def close(self) -> None:
        """End the process; idempotent."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_TIMEOUT_S)
        self._reader.join(END_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
            self._on_done.pop()()
        self._lines.put('{"error": "the process has ended"}')
        while self._on_done:
            self._on_done.pop()()


def _run_of(found: Mapping[str, Any]) -> StageRun:
    requests = tuple(
        RequestTimes(each["intended_s"], each["begin_s"], tuple(each["token_s"]), tokens=each["tokens"])
        for each in found["requests"]
    )
    return StageRun(found["wall_s"], found["tokens"], requests, client_cpu_s=found["client_cpu_s"])


def main() -> int:
    """Loads until stdin ends."""
    polite()
    for line in sys.stdin:
        asked = json.loads(line)
        endpoint = NamedEndpoint(asked["host"], asked["port"], asked["model"], prompt=prompt_text)
        try:
            run = run_load(endpoint, Load(**asked["load"]))
            told: dict[str, Any] = {
                "wall_s": run.wall_s,
                "tokens": run.tokens,
                "client_cpu_s": run.client_cpu_s,
                "requests": [asdict(each) for each in run.requests],
            }
        except PerfguardError as error:
            told = {"error": str(error)}
        print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
