"""The command line: `serve` answers OpenAI's API on a port, `ladder` measures all stages and prints the tables.

`self-test` tries whether the ladder blames the right one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from perfguard.errors import PerfguardError
from perfguard.ladder import Load, measure
from perfguard_suites.staged_throughput.backend import Backend
from perfguard_suites.staged_throughput.config import PROFILES
from perfguard_suites.staged_throughput.front_end import KINDS as FRONTS
from perfguard_suites.staged_throughput.interpreter import steady
from perfguard_suites.staged_throughput.linear import DTYPES
from perfguard_suites.staged_throughput.stages import Stages

_SERVE = "Answer OpenAI's completions on a port until SIGTERM, then drain; prints one JSON line with the URL."
_LADDER = "Measure stages 0 to 7 in turn and print where tokens per second are lost."
_SELF_TEST = "Put 1 ms a step into one component after another, and see whether the ladder finds it there; 1 if not."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; a problem is one line on stderr and its exit status."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.staged_throughput", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="serve|ladder|self-test")
    serve = verbs.add_parser("serve", help=_SERVE, description=_SERVE)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000, help="0 for any free one")
    serve.add_argument("--max-queue", type=int, default=256, help="requests that may wait (default: %(default)s)")
    ladder = verbs.add_parser("ladder", help=_LADDER, description=_LADDER)
    for name in ("requests", "concurrency", "prompt_tokens", "new_tokens"):
        default = Load.__dataclass_fields__[name].default
        ladder.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help="default: %(default)s")
    ladder.add_argument("--budget", type=float, default=180.0, metavar="S", help="default: %(default)s s")
    ladder.add_argument("--rounds", type=int, help="instead of as many as the budget allows")
    ladder.add_argument(
        "--fronts", action="store_true", help="instead: stage 7 with each front end, in turn with stages 0 and 5"
    )
    ladder.add_argument("--chart", type=Path, metavar="FILE.svg", help="write the chart there")
    ladder.add_argument("--markdown", action="store_true", help="the tables in Markdown")
    self_test = verbs.add_parser("self-test", help=_SELF_TEST, description=_SELF_TEST)
    self_test.add_argument("--rounds", type=int, default=8, help="default: %(default)s")
    _add_backend(self_test)
    self_test.set_defaults(profile="tiny")
    for verb in (serve, ladder):
        _add_backend(verb)
        verb.add_argument("--front", choices=FRONTS, default=FRONTS[0], help="of the event loop (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        return {"serve": _run_server, "ladder": _run_ladder, "self-test": _run_self_test}[options.verb](options)
    except PerfguardError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="small", help=f"one of {', '.join(PROFILES)} (default: %(default)s)")
    parser.add_argument("--dtype", default="fp32", choices=DTYPES, help="default: %(default)s")
    parser.add_argument("--slots", type=int, default=8, help="sequences at once (default: %(default)s)")
    parser.add_argument("--capacity", type=int, default=128, help="positions of each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of the model (default: cores - 1)")


def _backend(options: argparse.Namespace) -> Backend:
    from perfguard_suites.staged_throughput.torch_backend import torch_backend

    return torch_backend(
        options.profile,
        options.dtype,
        slots=options.slots,
        capacity=options.capacity,
        threads=options.threads,
    )


def _run_server(options: argparse.Namespace) -> int:
    from perfguard_suites.staged_throughput.service import Service
    from perfguard_suites.staged_throughput.stack import stack_on

    backend = _backend(options)
    backend.recording = False
    stack = stack_on(backend)
    service = Service(
        stack,
        f"staged-{options.profile}",
        host=options.host,
        port=options.port,
        max_queue=options.max_queue,
        front=options.front,
    )
    service.scheduler.batches.steps = None
    told = {"url": service.url, "model": service.model, "backend": backend.name, "front": options.front}
    with stack.engine, steady():
        service.run(lambda: print(json.dumps(told), flush=True))
    return 0


def _run_ladder(options: argparse.Namespace) -> int:
    from perfguard.ladder.chart import chart
    from perfguard.ladder.tables import render

    load = Load(options.requests, options.concurrency, options.prompt_tokens, options.new_tokens)
    backend = _backend(options)
    with contextlib.ExitStack() as serving:
        fronts = FRONTS if options.fronts else (options.front,)
        each = {front: serving.enter_context(_serving(Stages(backend, front=front))) for front in fronts}
        chosen = each[fronts[0]].ladder()
        if options.fronts:
            tops = [replace(each[front].ladder()[-1], name=f"stage7, {front}") for front in fronts]
            chosen = [chosen[0], chosen[5], *tops]
        found = measure(
            chosen,
            load,
            rounds=options.rounds,
            budget_s=options.budget,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
    print(f"{options.profile}, {backend.name}, {backend.threads} threads\n")
    print(render(found, markdown=options.markdown))
    if options.chart:
        options.chart.write_text(chart(found), encoding="utf-8")
    return 0


@contextlib.contextmanager
def _serving(stages: Stages) -> Iterator[Stages]:
    with stages.serving():
        yield stages


def _run_self_test(options: argparse.Namespace) -> int:
    from perfguard.ladder import blame
    from perfguard.ladder.selftest import term_s_per_token
    from perfguard.ladder.synthetic import RealClock
    from perfguard_suites.staged_throughput.selftest import DELAY_S, LOAD, DelayedStages, Delays

    stages = DelayedStages(_backend(options), Delays(RealClock().spend, DELAY_S))
    with stages.serving():
        found = blame(
            stages.stages_with,
            LOAD,
            delay_s=DELAY_S,
            rounds=options.rounds,
            s_per_token=term_s_per_token("stage0"),
            say=lambda text: print(text.partition(":")[0], file=sys.stderr, flush=True),
        )
    print(f"{options.profile}, {stages.backend.name}, n = {options.rounds} rounds")
    for each in found:
        print(each)
    return 0 if all(each.right for each in found) else 1
