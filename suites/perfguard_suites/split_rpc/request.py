"""`run`: one request through a fresh server, its figures as a table or as JSON; this process is the trusted one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from perfguard_suites.split_rpc import clocks
from perfguard_suites.split_rpc.account import PassAccount, account_of
from perfguard_suites.split_rpc.arithmetic import relative_error
from perfguard_suites.split_rpc.client import RpcClient
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.errors import ConfigurationError
from perfguard_suites.split_rpc.guards import MaskedGuard, VerifiedGuard, guard_for
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.split_rpc.process import ServerSettings, check_health, running
from perfguard_suites.split_rpc.runner import Pass, SplitModel
from perfguard_suites.split_rpc.server import ModelSource, add_model_options, source_of
from perfguard_suites.split_rpc.session import peak_rss_bytes
from perfguard_suites.split_rpc.traffic import largest_message_bytes, predict_request
from perfguard_suites.split_rpc.variants import VARIANTS, Variant, variant_of
from perfguard_suites.split_rpc.weights import trusted_names
from perfguard_suites.transport.channel import Scalar
from perfguard_suites.transport.connect import KINDS, connect

MIB = 1024 * 1024
SHARED = "shm"


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """What one request came to: the passes' seconds, the traffic, and each pass's account.

    `clock_bound_s`: how far stamps of the two sides may be off one another; 0 where they are of one clock.
    """

    prefill: PassAccount
    decode: tuple[PassAccount, ...]
    calls: int
    bytes_sent: int
    bytes_received: int
    logits: tuple[torch.Tensor, ...]
    clock_bound_s: float = 0.0

    @property
    def decode_step_s(self) -> float:
        """The mean decode step."""
        return sum(step.wall_s for step in self.decode) / max(1, len(self.decode))

    @property
    def wall_s(self) -> float:
        """All passes together."""
        return self.prefill.wall_s + sum(step.wall_s for step in self.decode)

    @property
    def non_compute_s(self) -> float:
        """All passes' time that is neither side's arithmetic."""
        return self.prefill.non_compute_s + sum(step.non_compute_s for step in self.decode)

    @property
    def unaccounted_fraction(self) -> float:
        """The share of the request's wall that no phase claims."""
        passes = (self.prefill, *self.decode)
        return sum(abs(each.unaccounted_s) for each in passes) / self.wall_s


def prompt_of(config: ModelConfig, tokens: int, seed: int = 1) -> torch.Tensor:
    """Varied token ids, int64, (tokens,): identical ones would hide a missing mask."""
    return torch.randint(0, config.vocabulary, (tokens,), generator=torch.Generator().manual_seed(seed))


def run_passes(split: SplitModel, ids: torch.Tensor, prompt: int) -> list[Pass]:
    """The prefill of the first `prompt` ids, then a decode step for each further one."""
    split.start()
    passes = [split.forward(ids[:prompt])]
    passes += [split.forward(ids[at : at + 1]) for at in range(prompt, len(ids))]
    return passes


def figures_of(passes: Sequence[Pass], split: SplitModel, *, one_clock: bool = True) -> RequestFigures:
    """The figures of these passes; fetches the server's ledger, so call it after they have been timed.

    `one_clock`: both processes stamp the same one; else the server's is set by the calls' own stamps.
    """
    ledger, at, accounts = split.ledger(), 0, []
    offset = None
    if not one_clock:
        offset = clocks.between([exchange for each in passes for exchange in each.timeline.exchanges])
    for each in passes:
        count = each.traffic.calls
        shared = split.variant.channel == SHARED
        accounts.append(account_of(each.timeline, ledger[at : at + count], shared_memory=shared, offset=offset))
        at += count
    return RequestFigures(
        accounts[0],
        tuple(accounts[1:]),
        sum(each.traffic.calls for each in passes),
        sum(each.traffic.bytes_sent for each in passes),
        sum(each.traffic.bytes_received for each in passes),
        tuple(each.logits for each in passes),
        0.0 if offset is None else offset.bound_ns / 1e9,
    )


def capacity_for(config: ModelConfig, variants: Sequence[Variant], positions: int) -> int:
    """A channel capacity for requests of that many positions: four of the largest message, 16 MiB at least."""
    return max(16 * MIB, 4 * max(largest_message_bytes(config, variant, positions) for variant in variants))


def logits_error(source: ModelSource, found: Sequence[torch.Tensor], ids: torch.Tensor, prompt: int) -> float:
    """The largest deviation from the single-process model, over prefill and decode."""
    reference = ReferenceModel(source.config(), source.weights(), len(ids))
    expected = [reference.forward(ids[:prompt])]
    expected += [reference.forward(ids[at : at + 1]) for at in range(prompt, len(ids))]
    return max(relative_error(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    add_model_options(parser)
    parser.add_argument("--variant", default="local-embedding", help=f"one of {', '.join(VARIANTS)}")
    parser.add_argument("--channel", choices=KINDS, help="another channel than the variant's")
    parser.add_argument("--tokens", type=int, default=64, help="prompt length")
    parser.add_argument("--steps", type=int, default=8, help="decode steps after it")
    parser.add_argument("--device", default="auto", help="of the server: auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="torch threads of each process; 0: torch's own choice")
    parser.add_argument("--repeat", type=int, default=2, help="requests; the last one is reported, the others warm up")
    parser.add_argument("--connect", default="", help="kind+address of a running server instead of a fresh one")
    parser.add_argument("--capacity-bytes", type=int, default=0, help="of the channel; 0: as the largest message needs")
    parser.add_argument("--check", action="store_true", help="compare logits with the single-process model (memory!)")
    parser.add_argument("--json", action="store_true", help="figures as JSON on stdout")


def run_request(options: argparse.Namespace) -> int:
    """Run as the options say. Raises the errors of configuration, server and channel."""
    source, variant = source_of(options), variant_of(options.variant)
    if options.channel:
        variant = replace(variant, channel=options.channel)
    config = source.config()
    positions = options.tokens + options.steps
    if options.tokens < 1 or options.steps < 0 or positions > config.max_positions or options.repeat < 1:
        raise ConfigurationError("--tokens, --steps, --repeat", f"1 to {config.max_positions} positions in all")
    if options.threads:
        torch.set_num_threads(options.threads)
    capacity = options.capacity_bytes or capacity_for(config, [variant], positions)
    if options.connect:
        client = RpcClient(connect(options.connect, capacity_bytes=capacity))
        try:
            check_health(client.health(), config.digest)
            return _report(options, source, variant, client)
        finally:
            client.close()
    _say("starting the server")
    settings = ServerSettings(source, (variant.channel,), capacity, device=options.device, threads=options.threads)
    with running(settings) as server:
        return _report(options, source, variant, server.connect(variant.channel))


def _report(options: argparse.Namespace, source: ModelSource, variant: Variant, client: RpcClient) -> int:
    config = source.config()
    weights = source.weights(trusted_names(config, embedding=variant.embedding == "client"), dtype="float32")
    ids = prompt_of(config, options.tokens + options.steps)
    guard = None
    if variant.protection != "none":
        _say(f"preparing {variant.protection}: this process needs all weights for it")
        guard = guard_for(config, variant, source.weights(dtype="float32"))
    split = SplitModel(config, weights, variant, client, len(ids), guard)
    try:
        found = _figures(options, source, split, ids)
    finally:
        split.close()
    print(json.dumps(found) if options.json else _text(found))
    return 0


def _figures(options: argparse.Namespace, source: ModelSource, split: SplitModel, ids: torch.Tensor) -> dict[str, Any]:
    """Run the requests; what the last one came to."""
    client, variant, guard, config = split.client, split.variant, split.guard, source.config()
    one_clock = client.health()["clock"] == clocks.clock_name()
    for number in range(options.repeat):
        if isinstance(guard, MaskedGuard):
            guard.prepare(options.tokens, options.steps)
        _say(f"request {number + 1} of {options.repeat}: {options.tokens} tokens, {options.steps} steps")
        figures = figures_of(run_passes(split, ids, options.tokens), split, one_clock=one_clock)
    health = client.health()
    memory = {"server": int(health["peak_rss_bytes"] or 0), "client": peak_rss_bytes()}
    predicted = predict_request(config, variant, options.tokens, options.steps)
    found = {
        "variant": variant.params(),
        "label": variant.label,
        "server_sees": list(variant.server_sees),
        "server": dict(health),
        "prefill_s": figures.prefill.wall_s,
        "decode_step_s": figures.decode_step_s,
        "calls": figures.calls,
        "bytes_sent": figures.bytes_sent,
        "bytes_received": figures.bytes_received,
        "predicted": asdict(predicted),
        "unaccounted_fraction": figures.unaccounted_fraction,
        "clock_bound_s": figures.clock_bound_s,
        "prefill": _account(figures.prefill),
        "decode": [_account(step) for step in figures.decode],
        "peak_rss_bytes": memory,
    }
    if split.trusted.arena is not None:
        arena = split.trusted.arena
        found["bytes_by_handle"] = [arena.sent_bytes // options.repeat, arena.received_bytes // options.repeat]
    if isinstance(guard, MaskedGuard | VerifiedGuard):
        found["offline_s"] = guard.offline_s
    if options.check:
        _say("comparing with the single-process model")
        found["logits_max_rel_error"] = logits_error(source, figures.logits, ids, options.tokens)
    return found


def _account(account: PassAccount) -> dict[str, Any]:
    return {
        "wall_s": account.wall_s,
        "critical_path_s": dict(account.path),
        "unaccounted_s": account.unaccounted_s,
        "work_s": dict(account.work),
        "overlap": account.overlap.fraction,
    }


def _text(found: Mapping[str, Any]) -> str:
    wall_s = found["prefill"]["wall_s"]
    predicted = found["predicted"]
    traffic = f"{found['calls']} calls, {_mib(found['bytes_sent'])} MiB sent, {_mib(found['bytes_received'])} received"
    promised = f"{predicted['calls']}, {_mib(predicted['bytes_sent'])}, {_mib(predicted['bytes_received'])}"
    lines = [
        f"{found['variant']['name']}: {found['label']}; the server sees {', '.join(found['server_sees'])}",
        f"prefill {1e3 * found['prefill_s']:.1f} ms, decode step {1e3 * found['decode_step_s']:.2f} ms",
        f"{traffic} (predicted {promised})",
        "critical path of the prefill:",
    ]
    path: Mapping[str, Scalar] = found["prefill"]["critical_path_s"]
    for name, seconds in sorted(path.items(), key=lambda item: -float(item[1] or 0)):
        lines.append(f"  {name:28s} {1e3 * float(seconds or 0):9.3f} ms {float(seconds or 0) / wall_s:6.1%}")
    lines.append(f"  {'unaccounted':28s} {1e3 * found['prefill']['unaccounted_s']:9.3f} ms")
    memory = found["peak_rss_bytes"]
    lines.append(f"peak memory: server {_mib(memory['server'])} MiB, client {_mib(memory['client'])} MiB")
    if "logits_max_rel_error" in found:
        lines.append(f"largest relative error of logits: {found['logits_max_rel_error']:.2e}")
    return "\n".join(lines)


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / MIB:.2f}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
