"""The front end as a process of its own: HTTP, validation, text. Started by `ProcessFront`; loads no torch.

It inherits three open files: the listening socket, its end of the channel, and the page of the engine's gauges. SIGTERM
drains it. When the engine has ended, everybody who waits is told so, and the process ends with status 1.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from typing import Any

from perfguard_suites.staged_throughput.gauges import Board
from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.http_app import HttpServer
from perfguard_suites.staged_throughput.interpreter import polite, steady
from perfguard_suites.staged_throughput.remote_scheduler import RemoteScheduler
from perfguard_suites.staged_throughput.tokenizer import tokenizer_of
from perfguard_suites.staged_throughput.web_server import WebServer, process_report


def main(settings: dict[str, Any]) -> int:
    """Serve until SIGTERM, or until the engine has ended. `settings`: of `ProcessFront`."""
    polite()
    endpoint = GenerateEndpoint(tokenizer_of(settings["tokenizer"]), settings["model"], settings["context"])
    http = HttpServer(endpoint)
    board = Board(settings["board"])
    scheduler = RemoteScheduler(
        socket.socket(fileno=settings["channel"]),
        socket.socket(fileno=settings["bell"]),
        board,
        slots=settings["slots"],
        max_queue=settings["max_queue"],
        deliver=endpoint.deliver,
        report=lambda: process_report(endpoint, http),
        on_lost=lambda: setattr(server, "should_exit", True),
    )
    endpoint.scheduler = scheduler
    server = WebServer(http, scheduler.start, scheduler.stop)
    # uvicorn drains at SIGTERM and then raises it again, for whom it interrupted: here, nobody. Ctrl-C reaches the
    # whole group, and does the same.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    with steady(), contextlib.closing(board), socket.socket(fileno=settings["listener"]) as listener:
        server.run(sockets=[listener])
    return 1 if scheduler.lost else 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
