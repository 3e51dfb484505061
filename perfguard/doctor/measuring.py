"""The machine's noise as a duet meets it: one tree against itself, the reference kernel as its case.

The workers, the turns and the figures are the duet's own, so that what is found here is what a gate will find.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perfguard.duet.outcome import CaseRecord
from perfguard.duet.pairing import A, B, measure_pair
from perfguard.duet.restart import fresh_workers
from perfguard.duet.side import Invocation, Side
from perfguard.duet.worktree import Checkout
from perfguard.errors import MeasurementError
from perfguard.noise import NoiseMeter

TEST = """\
from perfguard.measure.reference import kernel


def test_kernel(perfguard):
    perfguard(kernel)
"""
FEWEST_RESTARTS = 5
# A busy machine may need longer for these than was asked for, but not for ever.
MOST_OVER = 4.0


@dataclass
class Noise:
    """What the restarts gave: the record that a duet decides on, the fastest block of each process, and what it cost.

    `fastest_s`: one figure per process run, two a restart; `others`, `steal`: shares of all CPUs, one a restart;
    `fixed_s`, `case_s`: seconds that a restart took for both interpreters, and for its one case, as medians need.
    """

    record: CaseRecord = field(default_factory=CaseRecord)
    fastest_s: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    steal: list[float] = field(default_factory=list)
    fixed_s: list[float] = field(default_factory=list)
    case_s: list[float] = field(default_factory=list)

    @property
    def restarts(self) -> int:
        """How many there were."""
        return len(self.fixed_s)


def measure_noise(seconds: float, limit: float, progress: Callable[[int, float], None]) -> Noise:
    """Restarts for so many seconds, at least `FEWEST_RESTARTS`; `limit` says how long the blocks are, as in a duet.

    `progress(restarts, seconds)` is told after each. Raises `DuetError` if a worker cannot start, `MeasurementError` if
    its test does not pass.
    """
    noise, rng = Noise(), random.Random(secrets.randbits(64))
    meter = NoiseMeter()
    with _sides() as sides:
        with fresh_workers(sides, rng):  # compiles both trees, and counts for nothing
            pass
        meter.read()
        began_s = time.monotonic()
        while True:
            _restart(noise, sides, rng, limit)
            others, steal = meter.read()
            noise.others.append(others)
            noise.steal.append(steal)
            spent_s = time.monotonic() - began_s
            progress(noise.restarts, spent_s)
            next_s = spent_s + spent_s / noise.restarts
            if next_s > (seconds if noise.restarts >= FEWEST_RESTARTS else MOST_OVER * seconds):
                return noise


def _restart(noise: Noise, sides: Mapping[str, Side], rng: random.Random, limit: float) -> None:
    began_s = time.monotonic()
    with fresh_workers(sides, rng) as found:
        ids = {name: (side, next(iter(found[name].values()))["id"], "") for name, side in sides.items()}
        case_began_s = time.monotonic()
        halves = measure_pair(ids, rng, noise.record.wanted_s(limit))
        case_s = time.monotonic() - case_began_s
    failed = next((half for half in halves.values() if half.status != "passed"), None)
    if failed is not None or not all(half.blocks_s for half in halves.values()):
        told = failed.message if failed is not None else "it measured nothing"
        raise MeasurementError("the reference kernel's test", f"did not pass: {told}")
    noise.record.add(halves)
    noise.fastest_s += [min(half.blocks_s) for half in halves.values()]
    noise.case_s.append(case_s)
    noise.fixed_s.append(time.monotonic() - began_s - case_s)


@contextlib.contextmanager
def _sides() -> Iterator[Mapping[str, Side]]:
    """Two equal trees with names of equal length, and a side for each."""
    with tempfile.TemporaryDirectory(prefix="perfguard-doctor-") as scratch:
        roots = {name: Path(scratch).resolve() / f"tree-{name}" for name in (A, B)}
        for root in roots.values():
            root.mkdir()
            (root / "test_kernel.py").write_text(TEST, encoding="utf-8")
            (root / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        call = Invocation(("test_kernel.py",), ("-p", "no:cacheprovider"), (), ".", ".", "pytest.ini")
        yield {
            name: Side(Checkout(root, f"tree {name}"), roots[B if name == A else A], call, sys.executable)
            for name, root in roots.items()
        }
