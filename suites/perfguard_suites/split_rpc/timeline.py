"""What the trusted process did when: contiguous stretches with a name each, so that none of its time can hide."""

from __future__ import annotations

from time import perf_counter_ns
from typing import NamedTuple

from perfguard_suites.transport.channel import Stamps


class Stretch(NamedTuple):
    """A named stretch of one process's time, on the host's one clock."""

    name: str
    start_ns: int
    end_ns: int


class Exchange(NamedTuple):
    """One call as the client saw it, without its tensors (they would hold the peer's memory).

    `built_ns`: its inputs were computed; `sent_ns`: handed over; `waited_ns`: the client began to wait for the reply;
    `resumed_ns`: the results were ready to compute with.
    """

    request_id: int
    method: str
    built_ns: int
    sent_ns: int
    waited_ns: int
    resumed_ns: int
    request: Stamps
    reply: Stamps


class Timeline:
    """The client's stretches of own work and its exchanges; cheap enough to be always on (0.3 us each)."""

    def __init__(self) -> None:
        self.begin_ns = self.end_ns = self.last_ns = perf_counter_ns()
        self.own: list[Stretch] = []
        self.exchanges: list[Exchange] = []

    def mark(self, name: str) -> None:
        """What was done since the last mark was `name`."""
        now_ns = perf_counter_ns()
        self.own.append(Stretch(name, self.last_ns, now_ns))
        self.last_ns = now_ns

    @property
    def own_stretches(self) -> list[Stretch]:
        """The client's own work: the model's arithmetic under `client/own/`, what else it does as it is named."""
        return [
            Stretch(name if "/" in name else f"client/own/{name}", start_ns, end_ns)
            for name, start_ns, end_ns in self.own
        ]

    def finish(self) -> None:
        """The pass is over."""
        self.end_ns = perf_counter_ns()
