"""How often the gate is wrong, on seeded synthetic runs: false alarms of whole suites, and changes found.

These are statements about rates, with the binomial error of their number of trials in each bound.
"""

from __future__ import annotations

import numpy as np
import pytest

from perfguard.baselines import BaselineMetric, Baselines, ProcessRun
from perfguard.document import Case, Metric
from perfguard.gate import Judge, Policy

SUITES, CASES, RUNS = 150, 40, 10


def verdicts(rng: np.random.Generator, run_sd: np.ndarray, slowdown: float, limit: float) -> list[str]:
    """The verdicts of one suite of as many cases as `run_sd`, whose process runs differ by that log deviation."""
    stored, cases = {}, []
    for index, sd in enumerate(run_sd):
        medians = np.exp(rng.normal(0, sd, RUNS))
        now = float(np.exp(rng.normal(0, sd)) * slowdown)
        key = f"suite.test::{index}"
        runs = tuple(ProcessRun("2026-01-01T00:00:00Z", "abc", 30, float(m), (float(m), float(m))) for m in medians)
        stored["suite", key, "time"] = BaselineMetric("time", "s", "lower", "time", True, runs, "suite.toml:1")
        metric = Metric("time", "s", "lower", "time", True, 30, now, (now * 0.999, now * 1.001), 0.95, limit=limit)
        cases.append((Case(key, key, "suite", "passed"), metric))
    judge = Judge.for_run(Baselines("b", "c", stored), Policy(), [case.key for case, _ in cases])
    return [str(judge.judge(case, metric).verdict) for case, metric in cases]


@pytest.mark.parametrize("kind", ["steady", "mixed", "wild"])
def test_a_suite_without_change_hardly_ever_alarms(kind: str) -> None:
    """With a limit of zero, a suite of 40 unchanged cases alarms in at most 1 % of runs (plus binomial error)."""
    rng = np.random.default_rng({"steady": 1, "mixed": 2, "wild": 3}[kind])
    spread = {"steady": [0.02], "mixed": [0.01, 0.03, 0.1], "wild": [0.3]}[kind]
    alarms = sum("slower" in verdicts(rng, rng.choice(spread, CASES), 1.0, limit=1e-9) for _ in range(SUITES))
    assert alarms <= 6  # 1 % of 150 is 1.5; more than 6 has probability 1e-3


def test_a_change_well_beyond_the_noise_is_found() -> None:
    """With 3 % between runs and a limit of 10 %, a slowdown by half is found in at least 95 % of cases."""
    rng = np.random.default_rng(4)
    found = [v == "slower" for _ in range(20) for v in verdicts(rng, np.full(CASES, 0.03), 1.5, limit=0.1)]
    assert np.mean(found) >= 0.95


def test_noise_larger_than_the_limit_is_called_noisy() -> None:
    """With 30 % between runs a change of 10 % cannot be excluded: noisy, but for the 2.5 % that 95 % leaves."""
    rng = np.random.default_rng(5)
    told = [v for _ in range(20) for v in verdicts(rng, np.full(CASES, 0.3), 1.0, limit=0.1)]
    assert np.mean([v == "noisy" for v in told]) >= 0.93
    assert "slower" not in told
