"""Whom the ladder blames for a delay in one component of this stack, on a clock that passes only where it is spent."""

from __future__ import annotations

import pytest
from staged_backends import tiny

from perfguard.ladder import Load, blame
from perfguard.ladder.synthetic import VirtualClock
from perfguard_suites.staged_throughput import (
    backend,
    generate_endpoint,
    offline,
    schedule,
    scheduler,
    selftest,
    stages,
)

LOAD = Load(requests=4, concurrency=2, prompt_tokens=5, new_tokens=3)
STEP_S, DELAY_S = 4e-3, 1e-3


def test_a_delay_is_blamed_on_the_component_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 ms a step in each of stages 0 to 6 of the real stack: all of it found there, nothing anywhere else."""
    clock = VirtualClock()
    for module in (backend, generate_endpoint, offline, schedule, scheduler, stages):
        monkeypatch.setattr(module, "perf_counter", clock.read)
    delays = selftest.Delays(clock.spend, DELAY_S)
    delayed = selftest.DelayedStages(tiny(), delays)
    compute = delayed.backend.compute  # type: ignore[attr-defined]

    def timed(batch: backend.Batch) -> backend.Logits:
        clock.spend(STEP_S)
        return compute(batch)  # type: ignore[no-any-return]

    monkeypatch.setattr(delayed.backend, "compute", timed)
    found = blame(lambda name: delayed.stages_with(name, top=6), LOAD, delay_s=DELAY_S, rounds=1)
    assert [each.stage for each in found] == [f"stage{number}" for number in range(7)]
    assert all(each.share == pytest.approx(1.0) for each in found)
    assert all(each.elsewhere == pytest.approx(0.0, abs=1e-9) for each in found)


def test_stage_7_spends_its_delay_in_every_step() -> None:
    """The server in lockstep: as many delays as steps in it, and in none of the stages below."""
    spent: list[float] = []
    delays = selftest.Delays(spent.append, DELAY_S)
    delayed = selftest.DelayedStages(tiny(), delays)
    with delayed.serving():
        for stage in delayed.stages_with("stage7"):
            before = len(spent)
            run = stage.run(LOAD)
            assert len(spent) - before == (len(run.forwards) if stage.name == "stage7" else 0)
