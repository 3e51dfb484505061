"""What /metrics says: counters and gauges of every component, in Prometheus' text format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint

if TYPE_CHECKING:
    from perfguard_suites.staged_throughput.http_app import HttpServer

_PREFIX = "perfguard_staged"


def exposition(endpoint: GenerateEndpoint, server: HttpServer) -> str:
    """The whole page. Source: Prometheus' text exposition format 0.0.4."""
    assert endpoint.scheduler is not None
    engine = endpoint.scheduler.gauges()
    rows: list[tuple[str, str, str, int]] = [
        ("http_requests_total", "counter", "requests for completions", server.calls),
        ("disconnects_total", "counter", "clients that left before their answer ended", server.disconnects),
        ("requests_total", "counter", "requests that were queued", endpoint.requests),
        ("prompt_tokens_total", "counter", "tokens of their prompts", endpoint.prompt_tokens),
        ("generated_tokens_total", "counter", "tokens generated", endpoint.tokens),
        ("completed_total", "counter", "requests that ended by themselves", engine.completed),
        ("cancelled_total", "counter", "requests that were cancelled", engine.cancelled),
        ("failed_total", "counter", "requests that the backend failed", engine.failed),
        ("refused_total", "counter", "requests that found the queue full", endpoint.scheduler.refused),
        ("forward_passes_total", "counter", "passes of the backend", engine.passes),
        (
            "steps_to_free_max",
            "gauge",
            "steps from a cancellation to its cells being free",
            engine.most_steps_to_free,
        ),
        ("running", "gauge", "requests in the batch", engine.running),
        ("queued", "gauge", "requests that wait", engine.queued),
        ("kv_cells", "gauge", "cells of the KV cache in use", engine.cells),
        ("kv_cells_reserved", "gauge", "cells that running requests may come to need", engine.reserved_cells),
    ]
    return "".join(
        f"# HELP {_PREFIX}_{name} {words}\n# TYPE {_PREFIX}_{name} {kind}\n{_PREFIX}_{name} {value}\n"
        for name, kind, words, value in rows
    )
