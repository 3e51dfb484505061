"""What a diagnosis finds, as frozen data, and how it is found: real peers, the kernel's answer, measured rounds."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perfguard.errors import OptionError
from perfguard.noise import NoiseMeter
from perfguard.stats import Interval, median_interval
from perfguard_suites.transport import kernel_view, rounds
from perfguard_suites.transport.advice import Advice, Alternative, PhaseShare, rank, shares
from perfguard_suites.transport.channel import Message
from perfguard_suites.transport.connect import KINDS, SHARED_KINDS
from perfguard_suites.transport.errors import ChannelError
from perfguard_suites.transport.kernel_view import TransportInUse
from perfguard_suites.transport.latency_model import MIB, SizePoint, echo_estimate_s, fit, prediction_error
from perfguard_suites.transport.mix import LLAMA_1B, CallShape, ModelShape, predict, predict_fused
from perfguard_suites.transport.peer import peer
from perfguard_suites.transport.rounds import Round, Work
from perfguard_suites.transport.roundtrip import Client
from perfguard_suites.transport.sock_diag import KernelViewUnavailable
from perfguard_suites.transport.target import Target, family, open_target

DEFAULT_TOKENS = 128
DEFAULT_ROUNDS = 9
MAX_TOKENS = 2048
MAX_ROUNDS = 100
MAX_TIMEOUT_S = 3600.0
_STARTUP_TIMEOUT_S = 30.0
_MESSAGE_TIMEOUT_S = 60.0
_SETTLED = (
    f"before measuring, both ends freed a block of {rounds.SETTLING_BYTES // MIB} MiB, so that no figure depends"
    " on what ran before; a process that never did pays more page faults on the naive wire"
)
_PROBE_BYTES = 8 * MIB
_PROBES = 4
_MIN_CAPACITY_BYTES = 64 * MIB
_CARRIERS = {"ipc": kernel_view.UNIX, "tcp": kernel_view.TCP, "shm": kernel_view.SHARED_MEMORY}
_ACTIONS = {
    "naive-ipc": "one msgpack map over a unix socket (naive-ipc)",
    "naive-tcp": "one msgpack map over TCP (naive-tcp)",
    "multipart-ipc": "tensors as multipart frames without copies, over a unix socket (multipart-ipc)",
    "multipart-tcp": "tensors as multipart frames without copies, over TCP (multipart-tcp)",
    "shm": "tensors in shared memory with a doorbell (shm)",
    "shm-zmq": "tensors in shared memory, metadata over ZeroMQ (shm-zmq)",
}
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The mix foretold from sizes: by the fit, and by one 10 MiB echo's rate; errors are fractions of the measured."""

    model: str
    held_out_error: float
    predicted_s: float
    measured_s: float
    error: float
    echo_s: float
    echo_estimate_s: float
    echo_error: float


@dataclass(frozen=True, slots=True)
class CpuCost:
    """Medians per pass of the mix: wall seconds and CPU seconds of each process."""

    name: str
    wall_s: float
    client_cpu_s: float
    server_cpu_s: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything one diagnosis found. Seconds are per pass of the mix unless a name says otherwise."""

    target: Target
    endpoint: str
    in_use: TransportInUse
    warnings: tuple[str, ...]
    tokens: int
    rounds: int
    calls: int
    sent_bytes: int
    received_bytes: int
    bytes_unexplained: int
    mix_s: Interval
    memcpy_s: Interval
    empty_s: Interval
    sizes: tuple[SizePoint, ...]
    phases: tuple[PhaseShare, ...]
    copies: PhaseShare
    prediction: Prediction
    advice: tuple[Advice, ...]
    cpu: tuple[CpuCost, ...]
    resident_bytes: Mapping[str, int]
    others_cpu: float
    notes: tuple[str, ...]


def diagnose(
    target: Target,
    *,
    tokens: int = DEFAULT_TOKENS,
    round_count: int = DEFAULT_ROUNDS,
    model: ModelShape = LLAMA_1B,
    timeout_s: float = 5.0,
    seed: int = 0,
    progress: Progress = lambda _text: None,
) -> Diagnosis:
    """Diagnose a target on this machine now; the alternatives run on servers of their own, in the same rounds.

    `timeout_s`: how long a running server may take to answer. Raises `OptionError` for impossible options, the
    channel's errors when the target cannot be reached or dies.
    """
    if not 1 <= tokens <= MAX_TOKENS:
        raise OptionError("--tokens", f"{tokens} is not in 1 .. {MAX_TOKENS}", "choose a shorter prompt")
    if not 2 <= round_count <= MAX_ROUNDS:
        raise OptionError(
            "--rounds",
            f"{round_count} is not in 2 .. {MAX_ROUNDS}",
            "9 give an interval of 96 % that one outlier does not move",
        )
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise OptionError("--timeout", f"{timeout_s} is not in 0 .. {MAX_TIMEOUT_S:.0f} seconds", "5 is plenty here")
    calls = predict(model, tokens)
    noise = NoiseMeter()
    with contextlib.ExitStack() as stack:
        progress(f"connecting to {target.effective}")
        client = stack.enter_context(open_target(target, capacity_bytes(calls), timeout_s, _STARTUP_TIMEOUT_S))
        in_use, resident = observe(client)
        works, notes = _works(stack, target, client, calls, model, tokens, progress)
        found = rounds.measure(works, round_count, seed, progress, timeout_s=_MESSAGE_TIMEOUT_S)
        endpoint = client.channel.endpoint
    others_cpu, _steal = noise.read()
    return replace(
        _conclude(target, endpoint, in_use, found, calls, works),
        tokens=tokens,
        resident_bytes=resident,
        others_cpu=others_cpu,
        notes=tuple(notes),
    )


def capacity_bytes(calls: Sequence[CallShape]) -> int:
    """Room for a message that is sent while the last one is still being read, whichever is largest."""
    largest = max(max(call.sent_bytes, call.received_bytes) for call in calls)
    return max(_MIN_CAPACITY_BYTES, 2 * largest + 16 * MIB)


def observe(client: Client) -> tuple[TransportInUse, dict[str, int]]:
    """The kernel's answer about a channel, from a few large echoes; and resident bytes of `client` and `server`."""
    pid, peer_pid = os.getpid(), rounds.server_pid(client)
    payload = np.ones(_PROBE_BYTES, np.uint8)
    try:
        before = kernel_view.look(pid, peer_pid)
        with kernel_view.QueueWatch(kernel_view.unix_inodes(before)) as watch:
            replies = [client.call(Message("echo", (payload,)), _MESSAGE_TIMEOUT_S).reply for _ in range(_PROBES)]
        after = kernel_view.look(pid, peer_pid)
    except KernelViewUnavailable as error:
        return TransportInUse(kernel_view.UNKNOWN, 0, (f"the kernel could not be asked: {error}",)), {}
    addresses = [int(tensor.__array_interface__["data"][0]) for reply in replies for tensor in reply.tensors]
    in_use = kernel_view.decide(
        before, after, 2 * _PROBES * _PROBE_BYTES, queue_peaks=watch.peaks, payload_addresses=addresses
    )
    return in_use, {"client": after.resident_bytes[pid], "server": after.resident_bytes[peer_pid]}


def _works(
    stack: contextlib.ExitStack,
    target: Target,
    client: Client,
    calls: tuple[CallShape, ...],
    model: ModelShape,
    tokens: int,
    progress: Progress,
) -> tuple[list[Work], list[str]]:
    """The diagnosed channel first, then every alternative that starts; and why those that did not, did not."""
    works = [Work(target.kind, client, calls), Work("fused", client, predict_fused(model, tokens))]
    if model.dtype == "float32":
        works.append(Work("half", client, predict(replace(model, dtype="float16"), tokens)))
    if target.kind in SHARED_KINDS:
        works.append(Work("loaned", client, calls, loaned=True))
    notes = [_SETTLED]
    for kind in KINDS:
        if kind == target.kind:
            continue
        progress(f"starting {kind}")
        try:
            channel = stack.enter_context(
                peer(kind, capacity_bytes=capacity_bytes(calls), startup_timeout_s=_STARTUP_TIMEOUT_S)
            )
        except ChannelError as error:
            notes.append(f"{kind} could not be compared: {error}")
            continue
        works.append(Work(kind, Client(channel), calls))
    return works, notes


def _conclude(
    target: Target,
    endpoint: str,
    in_use: TransportInUse,
    found: Sequence[Round],
    calls: Sequence[CallShape],
    works: Sequence[Work],
) -> Diagnosis:
    base = target.kind
    fixed = [rounds.fixed_cost(one.empties) for one in found]
    phases = [rounds.phase_seconds(one.passes[base].records, cost) for one, cost in zip(found, fixed, strict=True)]
    copies_s = [
        rounds.payload_copies_s(base, one.passes[base].records, cost) for one, cost in zip(found, fixed, strict=True)
    ]
    walls = {work.name: tuple(one.passes[work.name].wall_s for one in found) for work in works}
    by_phase = {name: [one[name] for one in phases] for name in rounds.PHASES}
    return Diagnosis(
        target=target,
        endpoint=endpoint,
        in_use=in_use,
        warnings=(*target.warnings, *_contradictions(target, endpoint, in_use)),
        tokens=0,
        rounds=len(found),
        calls=len(calls),
        sent_bytes=sum(call.sent_bytes for call in calls),
        received_bytes=sum(call.received_bytes for call in calls),
        bytes_unexplained=rounds.mix_bytes_unexplained(found),
        mix_s=median_interval(walls[base]),
        memcpy_s=median_interval([one.memcpy_s for one in found]),
        empty_s=median_interval([cost.wall_ns / 1e9 for cost in fixed]),
        sizes=rounds.size_points(found),
        phases=shares(by_phase, walls[base]),
        copies=shares({"copies": copies_s}, walls[base])[0],
        prediction=_predict(found, calls),
        advice=rank(walls[base], list(_alternatives(works[1:], walls))),
        cpu=tuple(_cpu(work.name, found) for work in works),
        resident_bytes={},
        others_cpu=0.0,
        notes=(),
    )


def _contradictions(target: Target, endpoint: str, in_use: TransportInUse) -> Iterator[str]:
    promised = _CARRIERS[family(target.kind)]
    if in_use.carrier == kernel_view.UNKNOWN:
        yield f"what carries the payload could not be proved; {target.kind} at {endpoint} promises {promised}"
    elif in_use.carrier != promised:
        yield f"{target.kind} promises {promised}, but the kernel saw {in_use.carrier} carry the payload"


def _predict(found: Sequence[Round], calls: Sequence[CallShape]) -> Prediction:
    model = fit(rounds.size_points(found))
    measured_s = rounds.typical_mix_s(found)
    sent, received = [call.sent_bytes for call in calls], [call.received_bytes for call in calls]
    predicted_s = float(model.predict_s(sent, received).sum())
    echo_s = float(np.median([seconds for one in found for seconds in one.echo_s]))
    misleading_s = echo_estimate_s(echo_s, 2 * rounds.ECHO_BYTES, sum(sent) + sum(received))
    return Prediction(
        model.name,
        model.held_out_error,
        predicted_s,
        measured_s,
        prediction_error(predicted_s, measured_s),
        echo_s,
        misleading_s,
        prediction_error(misleading_s, measured_s),
    )


def _alternatives(works: Sequence[Work], walls: Mapping[str, tuple[float, ...]]) -> Iterator[Alternative]:
    special = {
        "fused": (
            "4 calls a layer instead of 6, 66 in all",
            "keys and values stay on the server; softmax, norms and SiLU stay trusted",
        ),
        "half": ("fp16 on the wire instead of fp32", "costs precision; converting is not counted"),
        "loaned": ("requests computed into loaned buffers", "the trusted process writes its results there"),
    }
    for work in works:
        action, proviso = special.get(work.name) or (_ACTIONS[work.name], "")
        yield Alternative(work.name, action, walls[work.name], proviso)


def _cpu(name: str, found: Sequence[Round]) -> CpuCost:
    passes = [one.passes[name] for one in found]

    def median(values: list[float]) -> float:
        return float(np.median(values)) if values else math.nan

    return CpuCost(
        name,
        median([p.wall_s for p in passes]),
        median([p.client_cpu_s for p in passes]),
        median([p.server_cpu_s for p in passes]),
    )
