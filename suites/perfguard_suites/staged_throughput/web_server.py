"""uvicorn as both front ends run it, and what one of them tells about itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import uvicorn

from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.http_app import HttpServer

DRAIN_TIMEOUT_S = 30


class WebServer(uvicorn.Server):
    """uvicorn over an application. `on_start` is called in its loop when it answers, `on_stop` when it has drained."""

    def __init__(self, http: HttpServer, on_start: Callable[[], object], on_stop: Callable[[], object]) -> None:
        super().__init__(
            uvicorn.Config(
                http.app(),
                lifespan="off",
                ws="none",
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
            )
        )
        self._http, self._on_start, self._on_stop = http, on_start, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        self._http.draining = True
        await super().shutdown(sockets)
        self._on_stop()


def report_of(endpoint: GenerateEndpoint, http: HttpServer, cpu_s: float) -> dict[str, Any]:
    """What stages 6 and 7 have counted so far: calls by component, seconds by phase, and their CPU time."""
    return {
        "calls": {"GenerateEndpoint": endpoint.calls, "HTTP server": http.calls},
        "phases": dict(endpoint.phases),
        "cpu_s": cpu_s,
    }


def process_report(endpoint: GenerateEndpoint, http: HttpServer) -> dict[str, Any]:
    """The same of a process that does nothing else."""
    return report_of(endpoint, http, time.process_time())
