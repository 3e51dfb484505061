"""A server of the tiny model in this process's threads, and the least of an HTTP client to talk to it."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

from staged_backends import tiny

from perfguard_suites.staged_throughput.front_end import KINDS
from perfguard_suites.staged_throughput.service import Service
from perfguard_suites.staged_throughput.stack import stack_on
from perfguard_suites.staged_throughput.torch_backend import TorchBackend

MODEL = "tiny"
TIMEOUT_S = 60


@contextlib.contextmanager
def serving(backend: TorchBackend | None = None, *, max_queue: int = 256, front: str = KINDS[0]) -> Iterator[Service]:
    """A running service; nothing is left in its cache at the end."""
    backend = backend or tiny()
    service = Service(stack_on(backend), MODEL, max_queue=max_queue, front=front)
    with service.threaded():
        yield service
    assert (backend.cells, service.scheduler.running, service.scheduler.queued) == (0, 0, 0)


def connect(service: Service) -> http.client.HTTPConnection:
    """A connection to it."""
    return http.client.HTTPConnection(service.host, service.port, timeout=TIMEOUT_S)


def post(
    service: Service, body: Any, *, path: str = "/v1/completions", raw: bytes | None = None
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one request's answer."""
    with contextlib.closing(connect(service)) as connection:
        connection.request("POST", path, json.dumps(body) if raw is None else raw)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.loads(answer.read())


def metrics(service: Service) -> dict[str, int]:
    """What /metrics says, by name."""
    with contextlib.closing(connect(service)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    pairs = (line.split(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("perfguard_staged_"): int(value) for name, value in pairs}


def events(data: bytes) -> list[Any]:
    """The JSON of every server-sent event, the closing [DONE] as text."""
    found = [event.removeprefix("data: ") for event in data.decode().split("\n\n") if event]
    return [event if event == "[DONE]" else json.loads(event) for event in found]
