"""The diagnosis measured: everything it compares runs in every round, in random order, on real peers.

One round holds one pass of the mix over the diagnosed channel and over each alternative, a sweep of sizes,
empty messages and a memcpy of the same bytes; so each figure of a round saw the same machine. The 10 MiB echo, which is
larger than any message of the mix, comes once after the rounds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from perfguard_suites.transport.channel import Message, Tensor
from perfguard_suites.transport.errors import MalformedMessage
from perfguard_suites.transport.latency_model import MIB, SizePoint
from perfguard_suites.transport.mix import CallRecord, CallShape, TensorShape, run_mix, unexplained_bytes
from perfguard_suites.transport.roundtrip import Client

ECHO_BYTES = 10 * MIB
# glibc raises its thresholds for giving memory back to the largest block freed so far, up to 32 MiB: until
# then the cost of a message depends on what the process did before it. Both ends free such a block first, so
# that no alternative profits from the one measured before it. (A fresh process pays up to twice on the naive wire.)
SETTLING_BYTES = 31 * MIB
_SETTLINGS = 2
SWEEP = "sweep"
_EMPTIES = 50
_SWEEPS = 2
_MEMCPY_BYTES = 8 * MIB
_SWEEP_SIZES = (4096, 65536, 262144, MIB // 2, *(MIB << n for n in range(10)))
PHASES = ("copy", "pack", "wake-up", "wire", "unpack", "server", "unaccounted")


@dataclass(frozen=True, slots=True)
class Work:
    """One way to do the mix: which client, which calls, whether requests are computed into loaned buffers."""

    name: str
    client: Client
    calls: tuple[CallShape, ...]
    loaned: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a work: seconds of wall time summed over its calls, CPU seconds of both processes, its calls."""

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    records: tuple[CallRecord, ...]


@dataclass(slots=True)
class Round:
    """Everything one round measured; times in seconds, `sweep` by (sent, received) bytes.

    `amid_sweep`: the mix as it ran between the points of each sweep, which is what the sweep can predict.
    """

    passes: dict[str, Pass] = field(default_factory=dict)
    sweep: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    amid_sweep: list[tuple[CallRecord, ...]] = field(default_factory=list)
    empties: tuple[CallRecord, ...] = ()
    echo_s: list[float] = field(default_factory=list)
    memcpy_s: float = 0.0


def measure(
    works: Sequence[Work], rounds: int, seed: int, progress: Callable[[str], None], *, timeout_s: float
) -> list[Round]:
    """`rounds` rounds over `works` (the first is the diagnosed one), after a pass of each that is not counted."""
    rng = random.Random(seed)
    points = sweep_points(works[0].calls)
    for work in works:
        progress(f"warming up {work.name}")
        echo(work.client, SETTLING_BYTES, _SETTLINGS, timeout_s)
        run_pass(work, timeout_s)
    found = []
    for index in range(rounds):
        progress(f"round {index + 1} of {rounds}")
        found.append(_round(works, points, rng, timeout_s))
    found[-1].echo_s += echo(works[0].client, ECHO_BYTES, 10, timeout_s)
    return found


def _round(works: Sequence[Work], points: Sequence[CallShape], rng: random.Random, timeout_s: float) -> Round:
    found = Round()
    base = works[0]

    def mix(work: Work) -> Callable[[], None]:
        def run() -> None:
            found.passes[work.name] = run_pass(work, timeout_s)

        return run

    def sweep() -> None:
        calls = interspersed(base.calls, rng.sample(points, len(points)))
        records = run_mix(base.client, calls, timeout_s=timeout_s)
        for record in records:
            if record.call.method == SWEEP:
                key = (record.call.sent_bytes, record.call.received_bytes)
                found.sweep.setdefault(key, []).append(record.wall_ns / 1e9)
        found.amid_sweep.append(tuple(record for record in records if record.call.method != SWEEP))

    def empties() -> None:
        found.empties = tuple(run_mix(base.client, [CallShape("empty", -1, (), ())] * _EMPTIES, timeout_s=timeout_s))

    def memcpy() -> None:
        found.memcpy_s = memcpy_s(sum(call.sent_bytes + call.received_bytes for call in base.calls))

    steps = [*(mix(work) for work in works), *[sweep] * _SWEEPS, empties, memcpy]
    for step in rng.sample(steps, len(steps)):
        step()
    return found


def run_pass(work: Work, timeout_s: float) -> Pass:
    """One pass; the CPU seconds are those of both whole processes, ZeroMQ's threads included."""
    server_before = server_cpu_s(work.client)
    client_before = time.process_time()
    records = tuple(run_mix(work.client, work.calls, loaned=work.loaned, timeout_s=timeout_s))
    client_cpu_s = time.process_time() - client_before
    server = server_cpu_s(work.client) - server_before
    return Pass(sum(record.wall_ns for record in records) / 1e9, client_cpu_s, server, records)


def server_stats(client: Client) -> Mapping[str, object]:
    """What the server says of itself: `pid`, `cpu_s`, `rss_bytes`."""
    return client.call(Message("stats")).reply.attributes


def server_pid(client: Client) -> int:
    """The server's process id as it says; the kernel's tables confirm or refute it. Raises `MalformedMessage`."""
    pid = server_stats(client).get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        raise MalformedMessage("stats", f"a server of process id {pid!r:.40}", "is the peer of the same version?")
    return pid


def server_cpu_s(client: Client) -> float:
    """CPU seconds the server has used so far."""
    used = server_stats(client).get("cpu_s")
    return float(used) if isinstance(used, int | float) else 0.0


def echo(client: Client, size_bytes: int, repetitions: int, timeout_s: float) -> list[float]:
    """Seconds of each round trip of one tensor of `size_bytes`, back to back, as simple transport checks do it."""
    payload: Tensor = np.ones(size_bytes // 4, np.float32)
    found = []
    for _ in range(repetitions):
        begin_s = perf_counter()
        client.call(Message("echo", (payload,)), timeout_s)
        found.append(perf_counter() - begin_s)
    return found


def memcpy_s(total_bytes: int) -> float:
    """Seconds that one copy of `total_bytes` takes here and now, from one buffer larger than most caches."""
    source = np.ones(_MEMCPY_BYTES, np.uint8)
    target = np.ones(_MEMCPY_BYTES, np.uint8)
    repetitions = max(4, min(32, total_bytes // _MEMCPY_BYTES))
    begin_s = perf_counter()
    for _ in range(repetitions):
        np.copyto(target, source)
    return (perf_counter() - begin_s) / repetitions / _MEMCPY_BYTES * total_bytes


def interspersed(calls: Sequence[CallShape], points: Sequence[CallShape]) -> list[CallShape]:
    """The mix in its order with the sweep's points spread evenly between its calls.

    So both meet the same caches, the same heap and the same disturbance by other processes.
    """
    found = []
    for index, call in enumerate(calls):
        found += [call, *points[index * len(points) // len(calls) : (index + 1) * len(points) // len(calls)]]
    return found


def sweep_points(calls: Sequence[CallShape]) -> tuple[CallShape, ...]:
    """Sizes in the range of the mix: sent only, received only, and both ways.

    Neither messages nor tensors are larger than the mix's own: one larger allocation would move the C library's
    thresholds for giving memory back, and change what the later, smaller messages cost.
    """
    most_sent = max(call.sent_bytes for call in calls)
    most_received = max(call.received_bytes for call in calls)
    most_both = min(most_sent, most_received, max(call.sent_bytes + call.received_bytes for call in calls) // 2)
    tensor_sent = max(tensor.size_bytes for call in calls for tensor in call.request)
    tensor_received = max(tensor.size_bytes for call in calls for tensor in call.reply)

    def sizes(top: int) -> list[int]:
        return [*(size for size in _SWEEP_SIZES if size < top), top]

    pairs = [
        (0, 0),
        *((n, 0) for n in sizes(most_sent)),
        *((0, n) for n in sizes(most_received)),
        *((n, n) for n in sizes(most_both)),
    ]
    return tuple(
        CallShape(SWEEP, -1, _pieces(sent, tensor_sent), _pieces(received, tensor_received)) for sent, received in pairs
    )


def _pieces(size_bytes: int, largest: int) -> tuple[TensorShape, ...]:
    whole, rest = divmod(size_bytes, largest)
    return tuple(TensorShape((n,), "uint8") for n in (*[largest] * whole, *([rest] if rest else [])))


def size_points(rounds: Sequence[Round]) -> tuple[SizePoint, ...]:
    """The sweep of all rounds together, by size."""
    together: dict[tuple[int, int], list[float]] = {}
    for one in rounds:
        for key, seconds in one.sweep.items():
            together.setdefault(key, []).extend(seconds)
    return tuple(SizePoint(sent, received, tuple(seconds)) for (sent, received), seconds in sorted(together.items()))


@dataclass(frozen=True, slots=True)
class FixedCost:
    """Medians of an empty round trip, in ns: what a message costs before it has a single byte of payload."""

    request_transit_ns: float
    reply_transit_ns: float
    pack_ns: float
    unpack_ns: float
    wall_ns: float


def fixed_cost(empties: Sequence[CallRecord]) -> FixedCost:
    """From the empty messages of one round."""
    by_name = [_durations(record) for record in empties]

    def median(*parts: str) -> float:
        return float(np.median([sum(d.get(part, 0) for part in parts) for d in by_name]))

    return FixedCost(
        request_transit_ns=median("request/wire", "request/wake_up"),
        reply_transit_ns=median("reply/wire", "reply/wake_up"),
        pack_ns=median("request/pack", "reply/pack"),
        unpack_ns=median("request/unpack", "reply/unpack"),
        wall_ns=float(np.median([record.wall_ns for record in empties])),
    )


def phase_seconds(records: Sequence[CallRecord], fixed: FixedCost) -> dict[str, float]:
    """Seconds by phase over all calls; they sum to the calls' wall time.

    On ZeroMQ nobody can see a frame arrive apart from the waking of who waits for it, so that the time between
    packed and arrived is split by calibration: as much as an empty message takes is `wake-up`, the rest `wire`.
    """
    totals = dict.fromkeys(PHASES, 0.0)
    for record in records:
        spent = _durations(record)
        for part in ("copy", "pack", "unpack"):
            totals[part] += spent[f"request/{part}"] + spent[f"reply/{part}"]
        totals["server"] += spent["server"]
        for side, empty_ns in (("request", fixed.request_transit_ns), ("reply", fixed.reply_transit_ns)):
            seen = spent.get(f"{side}/wire", 0)
            woken = spent.get(f"{side}/wake_up", 0) + min(seen, empty_ns)
            totals["wake-up"] += woken
            totals["wire"] += seen - min(seen, empty_ns)
        totals["unaccounted"] += record.wall_ns - sum(spent.values())
    return {name: ns / 1e9 for name, ns in totals.items()}


def payload_copies_s(kind: str, records: Sequence[CallRecord], fixed: FixedCost) -> float:
    """Seconds that both processes spent copying payload before and after the transport.

    That is `copy`; on the naive wire also what packing and unpacking take beyond an empty message's, because
    there both copy every byte.
    """
    total_ns = 0.0
    for record in records:
        spent = _durations(record)
        total_ns += spent["request/copy"] + spent["reply/copy"]
        if kind.startswith("naive"):
            total_ns += max(0.0, spent["request/pack"] + spent["reply/pack"] - fixed.pack_ns)
            total_ns += max(0.0, spent["request/unpack"] + spent["reply/unpack"] - fixed.unpack_ns)
    return total_ns / 1e9


def _durations(record: CallRecord) -> dict[str, int]:
    return {span.name: span.end_ns - span.start_ns for span in record.spans}


def typical_mix_s(rounds: Sequence[Round]) -> float:
    """Seconds of the mix between the sweeps: the sum over its calls of each one's median over all passes.

    The sweep's figures are medians by size, so that a disturbance of a few messages counts in neither.
    """
    walls_ns = [[record.wall_ns for record in records] for one in rounds for records in one.amid_sweep]
    return float(np.median(walls_ns, axis=0).sum()) / 1e9


def mix_bytes_unexplained(rounds: Sequence[Round]) -> int:
    """Over every pass of every work; 0 when the shapes explain the traffic exactly."""
    passes = [one.records for found in rounds for one in found.passes.values()]
    return sum(unexplained_bytes(records) for records in passes)
