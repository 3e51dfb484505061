"""The serving stack stage by stage: what each component costs, and whether the whole keeps its goals."""

from __future__ import annotations

from statistics import median

from perfguard import Perfguard
from perfguard.ladder import record_ladder, record_stage
from perfguard.ladder.figures import gap_s_per_step
from perfguard_suites.goals import note_goal
from perfguard_suites.staged_throughput.conftest import Measured

GAP_GOALS_US = {"stage5": 50.0, "stage7": 200.0}
CONTINUOUS_GOAL, BATCH_GOAL = 0.9, 1.7


def test_stage(perfguard: Perfguard, measured: Measured, stage: str, backend: str, model: str) -> None:
    """One stage: its tokens per second, against stage 0 and the stage below, its latencies."""
    ladder = measured.ladder
    record_stage(perfguard, ladder, stage, limit=0.1)
    runs = ladder.runs(stage)
    assert all(run.tokens == ladder.load.tokens for run in runs)
    perfguard.count("tokens", runs[0].tokens, unit="tokens")
    gap = gap_s_per_step(runs)
    assert gap is not None  # every stage here knows its passes
    perfguard.record("gap_s_per_step", gap.estimate, unit="s", gated=False)
    if stage in GAP_GOALS_US:
        note_goal(perfguard, "time outside passes, us a step", 1e6 * gap.estimate, at_most=GAP_GOALS_US[stage])
    perfguard.note(f"{model}, {backend}, {measured.threads} threads")


def test_ladder(perfguard: Perfguard, measured: Measured, backend: str, model: str) -> None:
    """All stages: the ratios that hold on any machine, beside their goals, and where each loss lies."""
    ladder = measured.ladder
    record_ladder(perfguard, ladder)
    gated = not ladder.noisy
    top = ladder.over_samples("stage7", "stage0").tolist()
    perfguard.record("stage7_over_stage0", top, unit="", kind="ratio", direction="higher", gated=gated, limit=0.1)
    remark = f"noisy: {ladder.noisy}" if ladder.noisy else ""
    for number, target in measured.targets.items():
        ratio = ladder.over_stage0(f"stage{number}").estimate
        note_goal(perfguard, f"stage {number} over stage 0", ratio, at_least=target, remark=remark)
    for name in ladder.names[1:]:
        terms = ladder.terms(name)
        assert terms is not None
        assert abs(terms.residual_s) <= 1e-9, "gap, dilation and mix are the whole loss"
    perfguard.note(f"{model}, {backend}, {measured.threads} threads")
    if backend == "torch-fp32":
        assert measured.invariant, "no number of rows gives this CPU's products the same bits"


def test_batching(perfguard: Perfguard, measured: Measured, backend: str, model: str) -> None:
    """Continuous batching against a static batch of 8, and a batch of 8 against one sequence."""
    continuous = measured.ladder.over_samples("stage5", "stage0").tolist()
    perfguard.record("continuous_over_static", continuous, unit="", kind="ratio", direction="higher", limit=0.1)
    note_goal(perfguard, "continuous over static batching", median(continuous), at_least=CONTINUOUS_GOAL)
    perfguard.record("batch8_over_batch1", measured.gain, unit="", kind="ratio", direction="higher", limit=0.3)
    note_goal(perfguard, "concurrency 8 over 1", median(measured.gain), at_least=BATCH_GOAL)
    perfguard.note(f"{model}, {backend}, {measured.threads} threads")
    perfguard.record("alike_alone", measured.alike, unit="", kind="fraction", direction="higher", gated=False)
    assert measured.alike == 1.0 or not measured.invariant
