"""`perfguard ladder --endpoint URL`: a running OpenAI-compatible server, measured by the ladder's client."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfguard.errors import OptionError

if TYPE_CHECKING:
    from perfguard.ladder.latency import Limits
    from perfguard.ladder.model import Load
    from perfguard.ladder.probe import Facts
    from perfguard.ladder.result import Ladder

HELP = "measure a running OpenAI-compatible server: tokens per second, latencies, goodput"
DESCRIPTION = """\
Put the same load on a server several times and tell what its clients see: tokens per second, time to the first token
and per token, end-to-end latency, each with its n. Several concurrencies or rates are measured in turn in each round.
To find which component of a stack loses the time, declare its stages in a test file: see docs/ladder.md.
"""
EXAMPLES = """\
examples:
  perfguard ladder --endpoint http://127.0.0.1:8000 --model qwen3-0.6b
  perfguard ladder --endpoint http://127.0.0.1:8000 --concurrency 1,2,4,8 --svg sweep.svg
  perfguard ladder --endpoint http://127.0.0.1:8000/v1/chat/completions --rate 2,4 --ttft-ms 200 --tpot-ms 50

exit status: 0 measured; 1 the measurement or the self-test failed; 2 interrupted; 4 a bad option, server or model
"""


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "ladder",
        help=HELP,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--endpoint", metavar="URL", help="http://HOST:PORT, or an API's path there")
    what.add_argument(
        "--self-test", action="store_true", help="put 1 ms into one layer of a made-up stack after another, and find it"
    )
    parser.add_argument("--model", default="", help="its name on the server (default: the only one it has)")
    parser.add_argument("--api", choices=("completions", "chat"), default="completions", help="which API is asked")
    parser.add_argument("--requests", type=int, default=40, metavar="N", help="in each run (default: 40)")
    parser.add_argument("--concurrency", default="8", metavar="N[,N...]", help="requests under way (default: 8)")
    parser.add_argument("--rate", metavar="R[,R...]", help="requests per second, at random times")
    parser.add_argument("--prompt-tokens", type=int, default=32, metavar="N", help="about so many (default: 32)")
    parser.add_argument("--new-tokens", type=int, default=50, metavar="N", help="generated a request (default: 50)")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="runs of each load (default: 6)")
    for name, what in (("ttft", "to the first token"), ("tpot", "per token after it"), ("e2e", "end to end")):
        parser.add_argument(f"--{name}-ms", type=float, metavar="MS", help=f"goodput: the limit {what}")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="how long nothing may arrive")
    parser.add_argument("--limit", type=float, default=600.0, metavar="S", help="how long one run may take")
    parser.add_argument("--key-env", metavar="NAME", help="the environment variable that holds the server's key")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the document perfguard.ladder/1")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the tables in Markdown")
    parser.add_argument("--svg", type=Path, metavar="PATH", help="write the chart")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure and report; 0. The self-test: 1 where a delay is blamed on the wrong layer."""
    if options.self_test:
        return _self_test(options.rounds)
    from perfguard.ladder.endpoint import parse_endpoint
    from perfguard.ladder.latency import Limits
    from perfguard.ladder.probe import probe
    from perfguard.ladder.rounds import kernel_meter, measure
    from perfguard.ladder.served import sweep

    loads = _loads(options)
    _check(options)
    started = datetime.now(timezone.utc)
    given = {"model": options.model, "timeout_s": options.timeout, "limit_s": options.limit, "key": _key(options)}
    facts = probe(parse_endpoint(options.endpoint, api=options.api, **given), loads[0])
    _say(f"{facts.endpoint.url}, model {facts.endpoint.model}")
    ladder = measure(
        sweep(facts.endpoint, loads, _say),
        loads[0],
        rounds=options.rounds,
        budget_s=0.0,
        say=_say,
        meter=kernel_meter(facts.server_pids),
        same_tokens=False,
    )
    limits = Limits(*(_seconds(getattr(options, f"{name}_ms")) for name in ("ttft", "tpot", "e2e")))
    about = {
        "endpoint": {"url": facts.endpoint.url, "model": facts.endpoint.model},
        "machine": _machine(),
        "started": started.isoformat(),
        "notes": _notes(facts, ladder, loads),
    }
    _report(options, ladder, limits if str(limits) else None, about)
    return 0


def _machine() -> dict[str, Any]:
    """The machine of the client, with its class."""
    from perfguard.baselines.machine import describe, machine_class

    description = describe()
    return {"class": machine_class(description), **description}


def _self_test(rounds: int) -> int:
    from perfguard.ladder.model import Load
    from perfguard.ladder.selftest import blame
    from perfguard.ladder.synthetic import RealClock, delayed_stages

    found = blame(delayed_stages(RealClock()), Load(requests=8, new_tokens=30), rounds=rounds, say=_say)
    for each in found:
        print(each)
    return 0 if all(each.right for each in found) else 1


def _report(options: argparse.Namespace, ladder: Ladder, limits: Limits | None, about: Mapping[str, Any]) -> None:
    from perfguard.ladder.chart import chart
    from perfguard.ladder.document import to_document
    from perfguard.ladder.tables import render

    notes = about["notes"]
    print(render(ladder, limits), end="")
    print("\n".join(notes))
    if options.json is not None:
        document = to_document(ladder, limits) | dict(about)
        _write(options.json, json.dumps(document, indent=1) + "\n")
    if options.markdown is not None:
        _write(options.markdown, render(ladder, limits, markdown=True) + "".join(f"- {note}\n" for note in notes))
    if options.svg is not None:
        _write(options.svg, chart(ladder))


def _notes(facts: Facts, ladder: Ladder, loads: Sequence[Load]) -> list[str]:
    """What a reader must know beside the figures."""
    told = list(facts.notes)
    if facts.prompt_tokens:
        told.append(f"prompts are about {facts.prompt_tokens} tokens, by the server's count")
    if not facts.counts:
        told.append("the server does not count tokens: events that carry text were counted instead")
    for name, load in zip(ladder.names, loads, strict=True):
        runs = ladder.runs(name)
        tokens, asked = sum(run.tokens for run in runs), len(runs) * load.tokens
        if tokens != asked and not any(run.refused for run in runs):
            told.append(f"{name}: {tokens} tokens of {asked} that were asked for: ended early, or events merged")
    if not facts.server_pids:
        told.append("the server's processes are not known: what it uses on this host counts as other processes'")
    return told


def _loads(options: argparse.Namespace) -> list[Load]:
    from perfguard.ladder.model import Load

    concurrencies = _numbers("--concurrency", options.concurrency, int)
    rates = _numbers("--rate", options.rate, float) if options.rate else [None]
    if len(concurrencies) > 1 and options.rate:
        raise OptionError("--concurrency", "several, with --rate", "sweep one of the two")
    shape = (options.prompt_tokens, options.new_tokens)
    return [Load(options.requests, concurrency, *shape, rate) for concurrency in concurrencies for rate in rates]


def _numbers(option: str, text: str, of: type) -> list[Any]:
    try:
        found = [of(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(option, f"{text!r} is no list of numbers", "write them like 1,2,4") from None
    if len(set(found)) < len(found):
        raise OptionError(option, f"{text!r} names one twice", "name each once")
    return found


def _check(options: argparse.Namespace) -> None:
    for name in ("timeout", "limit", "ttft_ms", "tpot_ms", "e2e_ms"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise OptionError(f"--{name.replace('_', '-')}", f"{value:g} is no time", "give more than 0")
    for path in (options.json, options.markdown, options.svg):
        if path is not None and not path.parent.is_dir():  # known before minutes of measurement
            raise OptionError(str(path), "is in a folder that does not exist", "create it, or give another path")


def _key(options: argparse.Namespace) -> str:
    if options.key_env is None:
        return ""
    key = os.environ.get(options.key_env, "")
    if not key or not key.isascii() or not key.isprintable():
        raise OptionError(f"--key-env {options.key_env}", "holds no key", "export it in that variable")
    return key


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1e3


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OptionError(str(path), f"cannot be written: {error.strerror}", "give another path") from None


def _say(text: str) -> None:
    print(f"perfguard ladder: {text}", file=sys.stderr, flush=True)
