"""The command line: `serve` answers OpenAI's API on a port, `ladder` measures all stages, `compare` two servers.

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
from statistics import median

from perfguard.errors import OptionError
from perfguard.ladder import Load, Stage, measure
from perfguard_suites.command_line import status_of
from perfguard_suites.split_rpc.threads import usable_cpus
from perfguard_suites.staged_throughput.backend import Backend
from perfguard_suites.staged_throughput.config import PROFILES
from perfguard_suites.staged_throughput.front_end import KINDS as FRONTS
from perfguard_suites.staged_throughput.interpreter import steady
from perfguard_suites.staged_throughput.linear import DTYPES
from perfguard_suites.staged_throughput.llamacpp import BACKENDS, KINDS
from perfguard_suites.staged_throughput.stages import Stages, targets_of

_SERVE = "Answer OpenAI's completions on a port until SIGTERM, then drain; prints one JSON line with the URL."
_LADDER = "Measure stages 0 to 7 in turn and print where tokens per second are lost."
_COMPARE = "Measure stage 7 on llama.cpp beside llama.cpp's own C++ server: same model, threads and client."
_SELF_TEST = "Put 1 ms a step into one component after another, and see whether the ladder finds it there; 1 if not."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; a problem is one line on stderr and its exit status."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.staged_throughput", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="serve|ladder|compare|self-test")
    serve = verbs.add_parser("serve", help=_SERVE, description=_SERVE)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000, help="0 for any free one")
    serve.add_argument("--max-queue", type=int, default=256, help="requests that may wait (default: %(default)s)")
    ladder = verbs.add_parser("ladder", help=_LADDER, description=_LADDER)
    ladder.add_argument(
        "--gain", type=int, default=0, metavar="ROUNDS", help="also a batch of 8 against one sequence, and tokens"
    )
    ladder.add_argument("--stages", default="0,1,2,3,4,5,6,7", metavar="N[,N...]", help="these alone (default: all)")
    ladder.add_argument(
        "--fronts", action="store_true", help="instead: stage 7 with each front end, in turn with stages 0 and 5"
    )
    compare = verbs.add_parser("compare", help=_COMPARE, description=_COMPARE)
    for verb in (ladder, compare):
        _add_measuring(verb)
    self_test = verbs.add_parser("self-test", help=_SELF_TEST, description=_SELF_TEST)
    self_test.add_argument("--rounds", type=int, default=8, help="default: %(default)s")
    _add_backend(self_test)
    self_test.set_defaults(profile="tiny")
    for verb in (serve, ladder, compare):
        _add_backend(verb)
        verb.add_argument("--front", choices=FRONTS, default=FRONTS[0], help="of the event loop (default: %(default)s)")
    options = parser.parse_args(arguments)
    run = {"serve": _run_server, "ladder": _run_ladder, "compare": _run_comparison, "self-test": _run_self_test}
    return status_of(lambda: run[options.verb](options))


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    for name in ("requests", "concurrency", "prompt_tokens", "new_tokens"):
        default = Load.__dataclass_fields__[name].default
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--budget", type=float, default=180.0, metavar="S", help="default: %(default)s s")
    parser.add_argument("--rounds", type=int, help="instead of as many as the budget allows")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="write the chart there")
    parser.add_argument("--markdown", action="store_true", help="the tables in Markdown")


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", choices=BACKENDS, help="default: torch, and llama.cpp for `compare` or a --gguf")
    parser.add_argument("--profile", default="small", help=f"one of {', '.join(PROFILES)} (default: %(default)s)")
    parser.add_argument(
        "--dtype", help=f"torch: one of {', '.join(DTYPES)} (fp32); llama.cpp: {', '.join(KINDS)} (q4_k_m)"
    )
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="llama.cpp: a model of your own, with its tokenizer")
    parser.add_argument("--slots", type=int, default=8, help="sequences at once (default: %(default)s)")
    parser.add_argument("--capacity", type=int, default=128, help="positions of each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of the model (default: cores - 1)")


def _backend(options: argparse.Namespace) -> Backend:
    kind = options.backend or ("llama.cpp" if options.gguf else "torch")
    shape = {"slots": options.slots, "capacity": options.capacity, "threads": options.threads}
    if kind == "llama.cpp":
        from perfguard_suites.staged_throughput.llamacpp.opening import llama_backend

        return llama_backend(options.profile, options.dtype or KINDS[0], gguf=options.gguf, say=_say, **shape)
    if options.gguf:
        raise OptionError("--gguf", "is for llama.cpp", "leave out --backend torch")
    from perfguard_suites.staged_throughput.torch_backend import torch_backend

    return torch_backend(options.profile, options.dtype or DTYPES[0], **shape)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _load(options: argparse.Namespace) -> Load:
    return Load(options.requests, options.concurrency, options.prompt_tokens, options.new_tokens)


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
    from perfguard_suites.staged_throughput.batching import alike_alone, batch_gain

    load = _load(options)
    backend = _backend(options)
    with contextlib.ExitStack() as serving:
        fronts = FRONTS if options.fronts else (options.front,)
        each = {front: serving.enter_context(_serving(Stages(backend, front=front))) for front in fronts}
        stages = each[fronts[0]]
        targets = targets_of(options.profile)
        chosen = _chosen(options, stages.ladder(targets=targets))
        if options.fronts:
            tops = [replace(each[front].ladder(targets=targets)[-1], name=f"stage7, {front}") for front in fronts]
            chosen = [*(stages.ladder(targets=targets)[number] for number in (0, 5)), *tops]
        found = measure(
            chosen,
            load,
            rounds=options.rounds,
            budget_s=options.budget,
            say=_say,
        )
        gains = batch_gain(stages, load, options.gain)
        alike = alike_alone(stages, load) if gains else 0.0
    print(f"{options.profile}, {backend.name}, {backend.threads} threads\n")
    print(render(found, markdown=options.markdown))
    if gains:
        print(f"a batch of 8 over one sequence: {median(gains):.2f} ({', '.join(f'{each:.2f}' for each in gains)})")
        print(f"sequences whose tokens are the same alone: {alike * load.requests:.0f} of {load.requests}")
    if options.chart:
        options.chart.write_text(chart(found), encoding="utf-8")
    return 0


def _chosen(options: argparse.Namespace, stages: Sequence[Stage]) -> Sequence[Stage]:
    numbers = options.stages.split(",")
    wrong = [number for number in numbers if number not in [str(index) for index in range(len(stages))]]
    if wrong or len(set(numbers)) < len(numbers):
        raise OptionError(
            f"--stages {options.stages:.40}", "are no different stages", f"some of 0 .. {len(stages) - 1}"
        )
    return [stages[int(number)] for number in sorted(numbers)]


def _run_comparison(options: argparse.Namespace) -> int:
    from perfguard.ladder.chart import chart
    from perfguard.ladder.tables import render
    from perfguard_suites.staged_throughput.llamacpp.comparison import compare
    from perfguard_suites.staged_throughput.llamacpp.opening import model_path

    path = model_path(options.profile, options.dtype or KINDS[0], gguf=options.gguf, say=_say)
    threads = options.threads or max(1, usable_cpus() - 1)
    shape = {"threads": threads, "slots": options.slots, "capacity": options.capacity}
    kind = options.dtype or KINDS[0]
    model = [f"--gguf={path}"] if options.gguf else [f"--profile={options.profile}", f"--dtype={kind}"]
    model.append(f"--front={options.front}")
    load = _load(options)
    found, systems = compare(path, model, load, shape, rounds=options.rounds, budget_s=options.budget, say=_say)
    print(f"{path.name}, {threads} threads\n")
    print(render(found, markdown=options.markdown))
    for line in systems:
        print(line)
    if options.chart:
        options.chart.write_text(chart(found), encoding="utf-8")
    return 0


@contextlib.contextmanager
def _serving(stages: Stages) -> Iterator[Stages]:
    with stages.stack.engine, stages.serving():
        yield stages


def _run_self_test(options: argparse.Namespace) -> int:
    from perfguard.ladder import blame
    from perfguard.ladder.selftest import term_s_per_token
    from perfguard.ladder.synthetic import RealClock
    from perfguard_suites.staged_throughput.selftest import DELAY_S, LOAD, DelayedStages, Delays

    stages = DelayedStages(_backend(options), Delays(RealClock().spend, DELAY_S))
    with stages.stack.engine, stages.serving():
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
