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
class LayerWall:
    """What evaluating a layer took, of one pass: all layers of a kind are evaluated once.

    `computations` and `collectives`: of the layer, counted apart for each kind of layer.
    """

    build_ns: int = 0
    gantt_ns: int = 0
    computations: int = 0
    collectives: int = 0


@dataclass(slots=True)
class PassWall:
    """What one pass took: `layers` walked, `each` kind of which was evaluated once."""

    token: int
    layers: int
    wall_ns: int = 0
    each: list[LayerWall] = field(default_factory=list)


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
        for layer in one.each:
            LOGGER.info(
                "      one layer evaluated: build=%.2fms, gantt=%.2fms, ops=%d+%d",
                layer.build_ns / 1e6,
                layer.gantt_ns / 1e6,
                layer.computations,
                layer.collectives,
            )


def log_total(walls: Walls) -> None:
    """The last line."""
    LOGGER.info("[Total] total wall time: %.2fms", walls.total_ns / 1e6)
