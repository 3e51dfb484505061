"""Stage 7 beside llama.cpp's own C++ server, a process each: the same file, threads, client and prompts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from perfguard.ladder import Ladder, Load, endpoint_stage, measure, parse_endpoint
from perfguard_suites.staged_throughput.llamacpp.cpp_server import ServerProcess, cpp_server
from perfguard_suites.staged_throughput.llamacpp.library import library
from perfguard_suites.staged_throughput.loads import prompt_text

OURS = "stage7"
# llama.cpp keeps sequences' cells in one cache or apart; which is faster depends on the load, and it is told its best.
THEIRS = {"C++, cells apart": False, "C++, one cache": True}
TARGET = 1.0
OUR_COMMAND = (
    sys.executable,
    "-m",
    "perfguard_suites.staged_throughput",
    "serve",
    "--backend",
    "llama.cpp",
    "--port",
    "0",
)


def compare(
    path: Path,
    model: Sequence[str],
    load: Load,
    shape: Mapping[str, int],
    *,
    rounds: int | None = None,
    budget_s: float = 180.0,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Ladder, Sequence[str]]:
    """A ladder of the three servers under a load, and lines: what CPU time a token took, what each was built for.

    CPU time, since a machine that others use as well takes it from whom it will, and wall time shows that.

    `model`: the options of `serve` that mean the file; `shape`: threads, slots and capacity.
    Raises `BackendUnavailable`, `ServiceFailed`, `EndpointError`.
    """
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(cpp_server(path, unified=unified, **shape)) for name, unified in THEIRS.items()
        }
        servers[OURS] = stack.enter_context(_own_server(model, shape))
        stages = [
            endpoint_stage(
                parse_endpoint(server.facts.url, model=server.facts.model, prompt=prompt_text),
                name=name,
                target=TARGET if name == OURS else None,
                say=say,
            )
            for name, server in servers.items()
        ]
        before_s = {name: server.cpu_s() for name, server in servers.items()}
        found = measure(stages, load, rounds=rounds, budget_s=budget_s, say=say)
        tokens = load.tokens * (len(found.rounds) + 1)  # a first round warms up
        took_s = {name: (server.cpu_s() - before_s[name]) / tokens for name, server in servers.items()}
        theirs = servers[next(iter(THEIRS))].facts.system
    cpu = ", ".join(f"{name} {1e3 * seconds:.3g} ms" for name, seconds in took_s.items())
    return found, (
        f"CPU time per token, over {len(found.rounds) + 1} rounds, all processes of a server: {cpu}",
        f"{OURS}: {library().version}; {library().system}",
        f"C++: {theirs}",
    )


def _own_server(model: Sequence[str], shape: Mapping[str, int]) -> ServerProcess:
    options = (f"--{name}={value}" for name, value in shape.items())
    return ServerProcess([*OUR_COMMAND, *model, *options], OURS)
