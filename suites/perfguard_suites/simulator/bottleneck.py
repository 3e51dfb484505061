"""The document's performance test: which phase and which part of it eats the wall time, and what advice is worth."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from perfguard import phase
from perfguard.spans import Recorder, recording
from perfguard_suites.simulator.engine import Simulation, Simulator
from perfguard_suites.simulator.ladder import Climb, climb
from perfguard_suites.simulator.trace import chrome_trace

LAYERS = 10
ROUNDS = 15
RECORDED = 7
SCHEMA = "perfguard.simulator-bottleneck/1"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the wall time: a path of phases, the seconds that are its own, and how often it was entered."""

    path: str
    seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class ColdRun:
    """One simulation that knew no product, its trace written: its wall time, by parts, largest first."""

    simulation: Simulation
    wall_s: float
    parts: tuple[Part, ...]
    search_s: float

    @property
    def unaccounted_s(self) -> float:
        """What no part claims."""
        return self.wall_s - sum(part.seconds for part in self.parts)

    @property
    def largest_phase(self) -> tuple[str, float]:
        """The outermost phase that took longest, and its seconds."""
        seconds: dict[str, float] = {}
        for part in self.parts:
            name = part.path.split("/")[0]
            seconds[name] = seconds.get(name, 0.0) + part.seconds
        return max(seconds.items(), key=lambda item: item[1])


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Where the wall time of a cold simulation went, and what each alternative gained beside the default."""

    cold: ColdRun
    default_s: float
    climbs: tuple[Climb, ...]
    rounds: int


def find(simulator: Simulator, rounds: int = ROUNDS) -> Bottleneck:
    """Run the simulation cold, with its phases recorded, and every alternative beside the default, `rounds` times.

    The parts are those of one run, the one of median wall time: so they sum to it.
    """
    simulator.fresh().run()  # first use: imports, lists of tiles
    runs = sorted((_recorded(simulator) for _ in range(RECORDED)), key=lambda run: run.wall_s)
    with tempfile.TemporaryDirectory(prefix="perfguard-simulator-") as folder:
        default_s, climbs = climb(simulator, Path(folder), rounds)
    return Bottleneck(runs[RECORDED // 2], default_s, tuple(climbs), rounds)


def _recorded(simulator: Simulator) -> ColdRun:
    cold, recorder = simulator.fresh(), Recorder()
    with recording(recorder):
        start_ns = perf_counter_ns()
        simulation = cold.run()
        with phase("Trace JSON"):
            chrome_trace(simulation.gantt)
        wall_ns = perf_counter_ns() - start_ns
    parts = [Part(path, own / 1e9, count) for path, (_, own, count) in recorder.take_round().totals.items()]
    parts.sort(key=lambda part: -part.seconds)
    return ColdRun(simulation, wall_ns / 1e9, tuple(parts), cold.evaluator.search_s)


def as_text(found: Bottleneck) -> str:
    """For a terminal."""
    return "\n".join(_lines(found))


def _lines(found: Bottleneck) -> Iterator[str]:
    cold = found.cold
    name, seconds = cold.largest_phase
    yield (
        f"a cold simulation: {1e3 * cold.wall_s:.1f} ms, trace included; most of it in {name} "
        f"({seconds / cold.wall_s:.0%}); searching tiles takes {1e3 * cold.search_s:.1f} ms "
        f"({cold.search_s / cold.wall_s:.0%}) for {cold.simulation.statistics.gemm_evaluations} products"
    )
    yield ""
    yield f"  {'part':<44} {'own time':>10} {'share':>7} {'times':>6}"
    for part in cold.parts:
        yield f"  {part.path:<44} {1e3 * part.seconds:>7.2f} ms {part.seconds / cold.wall_s:>7.1%} {part.count:>6}"
    yield f"  {'unaccounted':<44} {1e3 * cold.unaccounted_s:>7.2f} ms {cold.unaccounted_s / cold.wall_s:>7.1%}"
    yield ""
    yield f"the document's advice, each beside the default ({1e3 * found.default_s:.1f} ms) in {found.rounds} rounds:"
    columns = f"{'alternative':<17} {'wall':>10} {'as fast':>8}  {'interval':<16} {'TTFT':>8} {'TPOT':>8}"
    yield f"  {columns}  the document says"
    for one in found.climbs:
        gain = f"{one.gain.estimate:.2f}x"
        interval = f"[{one.gain.low:.2f}, {one.gain.high:.2f}]"
        yield (
            f"  {one.rung.name:<17} {1e3 * one.wall_s:>7.2f} ms {gain:>8}  {interval:<16} "
            f"{_change(one.ttft_change):>8} {_change(one.tpot_change):>8}  {one.rung.promise}"
        )


def _change(change: float) -> str:
    return "same" if change == 0 else f"{change:+.1%}"


def as_document(found: Bottleneck) -> dict[str, Any]:
    """Plain JSON types; seconds as the names say, changes as fractions."""
    return {
        "schema": SCHEMA,
        "wall_s": found.cold.wall_s,
        "search_s": found.cold.search_s,
        "unaccounted_s": found.cold.unaccounted_s,
        "phases_s": {name: ns / 1e9 for name, ns in found.cold.simulation.walls.phases_ns.items()},
        "parts": [{"path": part.path, "self_s": part.seconds, "count": part.count} for part in found.cold.parts],
        "default_s": found.default_s,
        "rounds": found.rounds,
        "alternatives": [
            {
                "name": one.rung.name,
                "promise": one.rung.promise,
                "wall_s": one.wall_s,
                "gain": one.gain.estimate,
                "gain_ci": [one.gain.low, one.gain.high],
                "confidence": one.gain.confidence,
                "ttft_change": one.ttft_change,
                "tpot_change": one.tpot_change,
            }
            for one in found.climbs
        ],
    }
