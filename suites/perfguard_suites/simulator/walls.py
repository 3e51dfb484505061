"""What the simulator itself takes: wall time by phase and layer, as perfguard phases and the document's log lines."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter_ns

from perfguard import phase

LOGGER = logging.getLogger("perfguard_suites.simulator")
WALL_PHASES = ("H2D", "Prefill", "Decode", "D2H", "Gantt Build", "Stats")


@dataclass(slots=True)
class PassWall:
    """What one pass took: `layers` walked, of which each kind was evaluated once.

    `build_ns`: making and pricing its operators, search included. `gantt_ns`: making its tasks. `operators`: of a layer
    of each kind, how many computations and collectives.
    """

    token: int
    layers: int
    wall_ns: int = 0
    build_ns: int = 0
    gantt_ns: int = 0
    operators: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Walls:
    """Wall times of one simulation, nanoseconds by phase; passes in order, of prefill and decode."""

    phases_ns: dict[str, int] = field(default_factory=dict)
    prefill: list[PassWall] = field(default_factory=list)
    decode: list[PassWall] = field(default_factory=list)
    total_ns: int = 0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        start_ns = perf_counter_ns()
        with phase(name):
            yield
        self.phases_ns[name] = perf_counter_ns() - start_ns


def log_phase(walls: Walls, name: str, simulated_ps: int) -> None:
    """The phase's line at level INFO, and its tokens' and layers' lines below it."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    passes = {"Prefill": walls.prefill, "Decode": walls.decode}.get(name, [])
    words = f"wall time: {walls.phases_ns[name] / 1e6:.2f}ms"
    if name == "Decode" and passes:
        words += f" ({walls.phases_ns[name] / 1e6 / len(passes):.2f} ms/token)"
    if name in ("H2D", "Prefill", "Decode", "D2H"):
        words += f", simulated time: {simulated_ps / 1e9:.2f}ms"
    LOGGER.info("[%s] %s", name, words)
    for index, one in enumerate(passes):
        if name == "Decode":
            LOGGER.info(
                "    Token %d/%d: wall time %.2fms, walked %d layers", index, len(passes), one.wall_ns / 1e6, one.layers
            )
        ops = ", ".join(f"{computations}+{collectives}" for computations, collectives in one.operators)
        LOGGER.info(
            "      one layer evaluated: build=%.2fms, gantt=%.2fms, ops=%s", one.build_ns / 1e6, one.gantt_ns / 1e6, ops
        )


def log_total(walls: Walls) -> None:
    """The last line."""
    LOGGER.info("[Total] total wall time: %.2fms", walls.total_ns / 1e6)
