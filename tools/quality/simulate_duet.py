"""How often the duet's decision is wrong and what it finds, on synthetic noise, beside other rules on the same noise.

`python tools/quality/simulate_duet.py --suites 200` prints for each noise one table: method -> false alarms per case
and per suite, changes found, restarts used; each rate with its 95 % binomial interval (Clopper & Pearson 1934).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rates import Rate
from rules import RULES
from scipy.special import stdtr

from perfguard.stats.change import Prior
from perfguard.stats.pairs import combine_restarts
from perfguard.stats.sequence import confidence_sequence, learn_duet_prior
from perfguard.stats.sequential import DuetPath, DuetPlan, decide_along

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from synthetic_noise import NOISES, Noise, duet_blocks, run_samples

CHANGES = (0.0, 0.03, 0.05, 0.10, 0.20)
Array = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]


@dataclass
class Tally:
    """Of one method under one noise, by change: alarms, cases called same, restarts used; suites with a false alarm."""

    alarms: dict[float, int] = field(default_factory=dict)
    cases: dict[float, int] = field(default_factory=dict)
    suites: int = 0
    suite_alarms: int = 0
    same: dict[float, int] = field(default_factory=dict)
    restarts: dict[float, float] = field(default_factory=dict)

    def add(self, change: float, alarms: Marks, same: Marks | None = None, restarts: Array | None = None) -> None:
        """Count one suite: which cases alarmed, which were called same, and their restarts, shape (cases,) each."""
        self.alarms[change] = self.alarms.get(change, 0) + int(alarms.sum())
        self.cases[change] = self.cases.get(change, 0) + alarms.size
        if same is not None and restarts is not None:
            self.same[change] = self.same.get(change, 0) + int(same.sum())
            self.restarts[change] = self.restarts.get(change, 0.0) + float(restarts.sum())
        if change == 0:
            self.suites += 1
            self.suite_alarms += bool(alarms.any())


def duet_rules(d: Array, path: DuetPath, plan: DuetPlan, prior: Prior) -> Mapping[str, Marks]:
    """After which restarts each rule would alarm, shape (cases, r)."""
    limit = np.log1p(plan.limit)
    certain = (path.evidence_slower >= plan.threshold) & (path.low > 0)
    n = np.arange(1, d.shape[-1] + 1)
    mean = np.cumsum(d, axis=-1) / n
    with np.errstate(all="ignore"):
        sd = np.sqrt((np.cumsum(d**2, axis=-1) / n - mean**2) * n / np.maximum(n - 1, 1))
        p = 1 - stdtr(np.maximum(n - 1, 1), mean / (sd / np.sqrt(n)))
    strict = confidence_sequence(d, prior=prior, confidence=1 - 2 / plan.threshold)
    return {
        "duet": path.verdict == "slower",
        "duet, estimate beyond limit": certain & (path.estimate > limit),
        "duet, interval beyond limit": certain & (path.low > limit),
        "moderated t, anytime": (strict.low > 0) & (path.high >= limit) & (n >= plan.min_restarts),
        "t-test at each look": (p < 1 / plan.threshold) & (path.high >= limit) & (n >= plan.min_restarts),
    }


def stop(alarm: Marks, same: Marks) -> tuple[Marks, Marks, Array]:
    """Which cases alarm first, which are called same first, and how many restarts each took; shape (cases,) each."""
    restarts = alarm.shape[-1]
    first_alarm, first_same = (np.where(marks.any(-1), marks.argmax(-1) + 1, restarts + 1) for marks in (alarm, same))
    used = np.minimum(np.minimum(first_alarm, first_same), restarts).astype(np.float64)
    alarmed = (first_alarm <= restarts) & (first_alarm <= first_same)
    return alarmed, (first_same <= restarts) & ~alarmed, used


def run_duet(rng: np.random.Generator, noise: Noise, plan: DuetPlan, blocks: int, tallies: dict[str, Tally]) -> None:
    """One suite of `plan.tests` cases, decided for every change by every rule."""
    scale = np.exp(rng.normal(0, 0.5, (plan.tests, 1)))
    a, b = duet_blocks(rng, noise, (plan.tests, plan.max_restarts), blocks, scale)
    unchanged, se = combine_restarts(a, b)
    prior = learn_duet_prior(list(unchanged[:, : plan.min_restarts]))
    for change in CHANGES:
        d = unchanged + np.log1p(change)
        path = decide_along(d, se, plan, prior)
        for name, alarm in duet_rules(d, path, plan, prior).items():
            tallies.setdefault(name, Tally()).add(change, *stop(alarm, path.verdict == "same"))


def run_stored(rng: np.random.Generator, noise: Noise, plan: DuetPlan, samples: int, tallies: dict[str, Tally]) -> None:
    """One suite measured once before and once now, judged by rules on stored samples."""
    scale = np.exp(rng.normal(0, 0.5, plan.tests))
    before, unchanged = (run_samples(rng, noise, plan.tests, samples, scale) for _ in range(2))
    for change in CHANGES:
        for name, rule in RULES.items():
            tallies.setdefault(name, Tally()).add(change, rule(before, unchanged * (1 + change)))


def table(name: str, tallies: dict[str, Tally]) -> str:
    """A Markdown table of all methods under one noise."""
    found = [f"+{100 * c:.0f} %" for c in CHANGES[1:]]
    heads = ["method", "false alarm, case", "false alarm, suite", *found, "same at 0 / 3 %", "restarts at 0 / 5 %"]
    lines = [f"### {name}", "", "| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for method, tally in tallies.items():
        cells = [method, str(Rate(tally.alarms[0.0], tally.cases[0.0])), str(Rate(tally.suite_alarms, tally.suites))]
        cells += [str(Rate(tally.alarms[c], tally.cases[c])) for c in CHANGES[1:]]
        if tally.restarts:
            cells.append(" / ".join(f"{100 * tally.same[c] / tally.cases[c]:.1f} %" for c in (0.0, 0.03)))
            cells.append(" / ".join(f"{tally.restarts[c] / tally.cases[c]:.1f}" for c in (0.0, 0.05)))
        lines.append("| " + " | ".join(cells + ["-"] * (len(heads) - len(cells))) + " |")
    return "\n".join(lines)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", type=int, default=200)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--restarts", type=int, default=30)
    parser.add_argument("--blocks", type=int, default=24, help="pairs of blocks per restart")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--noise", choices=sorted(NOISES), action="append", help="all, if not given")
    options = parser.parse_args()
    plan = DuetPlan(tests=options.cases, max_restarts=options.restarts)
    print(
        f"alpha {plan.alpha:.0%} for {plan.tests} cases, limit {plan.limit:.0%}, {plan.max_restarts} restarts at most"
    )
    for name in options.noise or NOISES:
        rng, start_s = np.random.default_rng(options.seed), time.perf_counter()
        tallies: dict[str, Tally] = {}
        for _ in range(options.suites):
            run_duet(rng, NOISES[name], plan, options.blocks, tallies)
            run_stored(rng, NOISES[name], plan, options.blocks * 5, tallies)
        print(f"\n{table(name, tallies)}\n\n{options.suites} suites, {time.perf_counter() - start_s:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
