"""Where the time of a pass went, over both processes: two views that are never mixed.

The *critical path* splits the wall time: what the client did, and while it waited, what the server did in that time;
it closes, so that what nobody claims shows as `unaccounted`. The *work* sums every stretch of both processes; where
requests are in flight beside others it exceeds the wall.

All stamps are CLOCK_MONOTONIC of one host (`perf_counter_ns` in CPython on Linux), and must be in causal order. Those
of a server on another host are put on the client's clock first, with the bound of what is known about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perfguard_suites.split_rpc.clocks import ClockOffset, on_client_clock
from perfguard_suites.split_rpc.errors import BadReply
from perfguard_suites.split_rpc.overlap import Overlap, overlap_of
from perfguard_suites.split_rpc.timeline import Exchange, Stretch, Timeline

OWN = "client/own"
COMPUTE = "server/compute"
UNMASK = "client/unmask"
QUEUE = "server/queue"
WAIT = "wait"
UNACCOUNTED = "unaccounted"
# What is neither the model's arithmetic on one side nor on the other: what splitting costs.
ARITHMETIC = (OWN, COMPUTE)


class ServerStamps(NamedTuple):
    """One row of the server's ledger: see `protocol.LEDGER_COLUMNS`."""

    request_id: int
    ready_ns: int
    taken_ns: int
    computed_ns: int
    converted_ns: int
    sent_ns: int


class CallStretches(NamedTuple):
    """The stretches of one call in causal order, contiguous from the request's inputs to the usable results."""

    method: str
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class PassAccount:
    """A pass's time in seconds by phase. `path` and `unaccounted_s` sum to `wall_s`; `work` sums to what it may."""

    wall_s: float
    path: Mapping[str, float]
    unaccounted_s: float
    work: Mapping[str, float]
    overlap: Overlap

    @property
    def unaccounted_fraction(self) -> float:
        """The share of the wall that no phase claims."""
        return abs(self.unaccounted_s) / self.wall_s

    @property
    def non_compute_s(self) -> float:
        """The part of the wall that is neither side's arithmetic: what splitting costs."""
        return self.wall_s - sum(seconds for name, seconds in self.path.items() if name.startswith(ARITHMETIC))

    @property
    def work_s(self) -> float:
        """The sum of both processes' stretches, waits apart."""
        return sum(self.work.values())


def account_of(
    timeline: Timeline, ledger: npt.NDArray[np.int64], *, shared_memory: bool, offset: ClockOffset | None = None
) -> PassAccount:
    """The account of one pass from the client's timeline and the server's ledger of the same operations.

    `offset`: of the server's clock, where it is another: stamps may be out of order by its bound, no more.
    Raises `BadReply` where the ledger does not hold exactly this pass's operations, or stamps are out of causal order.
    """
    exchanges = timeline.exchanges
    if offset is not None:
        exchanges, ledger = on_client_clock(exchanges, ledger, offset)
    slack_ns = 0 if offset is None else ceil(offset.bound_ns)
    rows = stamps_of(ledger)
    if [row.request_id for row in rows] != [exchange.request_id for exchange in exchanges]:
        raise BadReply("ledger", f"holds {len(rows)} operations, the pass made {len(exchanges)}")
    calls = [
        call_stretches(exchange, row, shared_memory=shared_memory, slack_ns=slack_ns)
        for exchange, row in zip(exchanges, rows, strict=True)
    ]
    client = _client_stretches(timeline.own_stretches, exchanges, calls)
    server = _server_stretches(exchanges, rows, calls)
    path = _critical_path(client, server, _moving(shared_memory))
    wall_ns = timeline.end_ns - timeline.begin_ns
    claimed_ns = sum(path.values())
    work = _sums([*timeline.own_stretches, *(stretch for call in calls for stretch in call.stretches)])
    busy_client = [(s.start_ns, s.end_ns) for s in client if s.name != WAIT]
    busy_server = [(s.start_ns, s.end_ns) for s in server if s.name != QUEUE]
    return PassAccount(
        wall_s=wall_ns / 1e9,
        path={name: ns / 1e9 for name, ns in path.items()},
        unaccounted_s=(wall_ns - claimed_ns) / 1e9,
        work={name: ns / 1e9 for name, ns in work.items()},
        overlap=overlap_of(busy_client, busy_server),
    )


def stamps_of(ledger: npt.NDArray[np.int64]) -> list[ServerStamps]:
    """The rows of a server's ledger."""
    return [ServerStamps(*(int(value) for value in row)) for row in ledger]


def _moving(shared_memory: bool) -> str:
    """On ZeroMQ an application cannot see a frame's arrival apart from its own waking."""
    return "wake-up" if shared_memory else "wire"


def call_stretches(exchange: Exchange, row: ServerStamps, *, shared_memory: bool, slack_ns: int = 0) -> CallStretches:
    """The phases of one call on both sides. Raises `BadReply` naming two stamps that are out of order.

    Two that are by `slack_ns` at most, which is how unsure clocks are of one another, are taken for simultaneous.
    """
    request, reply, moving = exchange.request, exchange.reply, _moving(shared_memory)
    sent = _within(exchange.sent_ns, request.packed_ns, request.arrived_ns)
    taken_up = _within(row.ready_ns, sent, request.arrived_ns)
    answered = _within(row.sent_ns, reply.packed_ns, reply.arrived_ns)
    awaited = _within(exchange.waited_ns, answered, reply.arrived_ns)
    stations = (
        ("", exchange.built_ns),
        ("client/build", request.begun_ns),
        ("client/copy", request.copied_ns),
        ("client/pack", request.packed_ns),
        ("client/send", sent),
        (QUEUE, taken_up),
        (f"{moving}/request", request.arrived_ns),
        ("server/unpack", request.unpacked_ns),
        ("server/host-to-device", row.taken_ns),
        (COMPUTE, row.computed_ns),
        ("server/device-to-host", row.converted_ns),
        ("server/build", reply.begun_ns),
        ("server/copy", reply.copied_ns),
        ("server/pack", reply.packed_ns),
        ("server/send", answered),
        ("client/queue", awaited),
        (f"{moving}/reply", reply.arrived_ns),
        ("client/unpack", reply.unpacked_ns),
        ("client/copy-out", exchange.resumed_ns),
    )
    at = exchange.built_ns
    stretches = []
    for (before, _), (after, then) in pairwise(stations):
        if then < at - slack_ns:
            raise BadReply(
                f"stamps of {exchange.method!r}",
                f"{after} ends {at - then} ns before {before or 'the call'} does",
                "are both processes on one host?",
            )
        stretches.append(Stretch(after, at, max(at, then)))
        at = max(at, then)
    return CallStretches(exchange.method, tuple(stretches))


def _within(stamp_ns: int, low_ns: int, high_ns: int) -> int:
    return min(max(stamp_ns, low_ns), high_ns)


def _client_stretches(
    own: Sequence[Stretch], exchanges: Sequence[Exchange], calls: Sequence[CallStretches]
) -> list[Stretch]:
    """The client's thread, in order: own work, each call's way out, the wait for each reply, the way in."""
    stretches = list(own)
    for exchange, call in zip(exchanges, calls, strict=True):
        handed_ns = call.stretches[3].end_ns
        arrived_ns = max(exchange.waited_ns, exchange.reply.arrived_ns)
        stretches += call.stretches[:4]
        # The server may be at work while the client's thread is not back from waking it: that is a wait already.
        stretches.append(Stretch(WAIT, handed_ns, exchange.sent_ns))
        stretches.append(Stretch(WAIT, exchange.waited_ns, arrived_ns))
        stretches += call.stretches[-2:]
    return sorted(stretches, key=lambda stretch: (stretch.start_ns, stretch.end_ns))


def _server_stretches(
    exchanges: Sequence[Exchange], rows: Sequence[ServerStamps], calls: Sequence[CallStretches]
) -> list[Stretch]:
    """The server's thread, in order: each operation, and between them the time in which it could not take the next."""
    stretches: list[Stretch] = []
    free_ns = 0
    for exchange, row, call in zip(exchanges, rows, calls, strict=True):
        if free_ns:
            stretches.append(Stretch(QUEUE, free_ns, row.ready_ns))
        stretches += [stretch for stretch in call.stretches if stretch.name in _SERVED]
        stretches.append(Stretch("server/send", exchange.reply.packed_ns, row.sent_ns))
        free_ns = row.sent_ns
    return stretches


_SERVED = frozenset(
    (
        "server/unpack",
        "server/host-to-device",
        COMPUTE,
        "server/device-to-host",
        "server/build",
        "server/copy",
        "server/pack",
    )
)


def _critical_path(client: Iterable[Stretch], server: Sequence[Stretch], moving: str) -> dict[str, int]:
    """Nanoseconds by phase: the client's own stretches, its waits split by what the server did meanwhile.

    What is left of a wait before the server's first stretch in it is the request's way, after its last the reply's;
    between two it is the next request's, which was on its way.
    """
    path: dict[str, int] = {}
    position = 0
    for stretch in client:
        if stretch.name != WAIT:
            path[stretch.name] = path.get(stretch.name, 0) + stretch.end_ns - stretch.start_ns
            continue
        while position < len(server) and server[position].end_ns <= stretch.start_ns:
            position += 1
        for name, ns in _split_wait(stretch, server, position, moving):
            path[name] = path.get(name, 0) + ns
    return path


def _split_wait(wait: Stretch, server: Sequence[Stretch], first: int, moving: str) -> Iterator[tuple[str, int]]:
    at = wait.start_ns
    for index in range(first, len(server)):
        name, start_ns, end_ns = server[index]
        if start_ns >= wait.end_ns:
            break
        if start_ns > at:
            yield f"{moving}/request", start_ns - at
            at = start_ns
        if end_ns > at:
            yield name, min(end_ns, wait.end_ns) - at
            at = min(end_ns, wait.end_ns)
    if wait.end_ns > at:
        yield f"{moving}/reply", wait.end_ns - at


def _sums(stretches: Iterable[Stretch]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, start_ns, end_ns in stretches:
        sums[name] = sums.get(name, 0) + end_ns - start_ns
    return sums
