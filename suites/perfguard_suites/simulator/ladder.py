"""The document's advice, option by option: each measured beside the default in the same rounds."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter

from perfguard.stats import Interval
from perfguard.stats.quantiles import ratio_interval
from perfguard_suites.simulator.engine import Simulation, Simulator
from perfguard_suites.simulator.gemm import Cache

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Rung:
    """One piece of advice: options that differ from the default, variables of the environment, and which caches stay.

    `promise`: what the document says of it. `warm`: the evaluator has searched all of it before. `disk`: it has not,
    but another one has left its results on disk.
    """

    name: str
    promise: str
    options: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    warm: bool = False
    disk: bool = False


RUNGS = (
    Rung("precise-off", "10 to 100 times faster", {"use_precise_evaluator": False}),
    Rung("coarse", "operators are not unfolded", {"evaluation_granularity": "coarse"}),
    Rung("two-tokens", "TPOT slightly less precise", {"max_simulated_tokens": 2}),
    Rung("processes-off", "faster for small searches", environment={"GEMM_DISABLE_MULTIPROCESS": "1"}),
    Rung("cache-in-memory", "check that it works", warm=True),
    Rung("cache-on-disk", "check that it works", disk=True),
    Rung(
        "all-at-once",
        "5 s become half a second",
        {"use_precise_evaluator": False, "evaluation_granularity": "coarse", "max_simulated_tokens": 2},
    ),
)


@dataclass(frozen=True, slots=True)
class Climb:
    """What one rung came to: how much faster with its interval, and by how much simulated times changed."""

    rung: Rung
    gain: Interval
    wall_s: float
    simulation: Simulation
    ttft_change: float
    tpot_change: float

    def __str__(self) -> str:
        changed = f"TTFT {self.ttft_change:+.2%}, TPOT {self.tpot_change:+.2%}"
        same = self.ttft_change == 0 == self.tpot_change
        return (
            f"{self.rung.name}: {self.gain.estimate:.2f}x as fast [{self.gain.low:.2f}, {self.gain.high:.2f}], "
            f"{'simulated result unchanged' if same else 'changes the simulated result: ' + changed}"
        )


def alternatives(simulator: Simulator, folder: Path) -> dict[str, Callable[[], Simulation]]:
    """The default and each rung, as functions that run once: cold, unless a rung keeps a cache in `folder`."""
    return {DEFAULT: lambda: simulator.fresh().run()} | {
        rung.name: _runs(rung, simulator, folder / rung.name) for rung in RUNGS
    }


def _runs(rung: Rung, simulator: Simulator, folder: Path) -> Callable[[], Simulation]:
    config = replace(simulator.config, **rung.options)  # type: ignore[arg-type]  # the options of a rung are its own
    if rung.disk:
        simulator.fresh(config=config, cache=Cache(folder)).run()
        return lambda: simulator.fresh(config=config, cache=Cache(folder)).run()
    if rung.warm:
        warm = simulator.fresh(config=config)
        warm.run()
        return warm.run

    def run() -> Simulation:
        with environment(rung.environment):
            return simulator.fresh(config=config).run()

    return run


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, and put them back."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def climb(simulator: Simulator, folder: Path, rounds: int) -> tuple[float, list[Climb]]:
    """Run everything once a round, in random order; the default's median seconds, and each rung beside it."""
    runs = alternatives(simulator, folder)
    times_s: dict[str, list[float]] = {name: [] for name in runs}
    results = {name: run() for name, run in runs.items()}  # also warms up: imports, lists of tiles
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(runs), len(runs)):
            start = perf_counter()
            results[name] = runs[name]()
            times_s[name].append(perf_counter() - start)
    return median(times_s[DEFAULT]), climbs(results, times_s)


def climbs(results: Mapping[str, Simulation], times_s: Mapping[str, Sequence[float]]) -> list[Climb]:
    """Each rung's gain and change of result, from what was measured in the same rounds."""
    found, base = [], results[DEFAULT].statistics
    for rung in RUNGS:
        result = results[rung.name]
        found.append(
            Climb(
                rung,
                ratio_interval(times_s[DEFAULT], times_s[rung.name]),
                median(times_s[rung.name]),
                result,
                result.statistics.ttft_s / base.ttft_s - 1,
                result.statistics.tpot_s / base.tpot_s - 1,
            )
        )
    return found
