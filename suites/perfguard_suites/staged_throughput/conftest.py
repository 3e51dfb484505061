"""Fixtures of the staged cases: one ladder of all stages, measured when the first case asks for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from perfguard.ladder import Ladder, Load, measure_for, profile_of
from perfguard_suites.split_rpc.threads import let_idle_threads_sleep

let_idle_threads_sleep()  # before torch is imported

from perfguard_suites.staged_throughput.batching import batch_gain  # noqa: E402 - see above
from perfguard_suites.staged_throughput.stages import COMPONENTS, Stages  # noqa: E402
from perfguard_suites.staged_throughput.torch_backend import torch_backend  # noqa: E402


@dataclass(frozen=True, slots=True)
class Plan:
    """What a profile measures, and for how long."""

    model: str
    dtype: str
    load: Load
    gain_rounds: int


PLANS: Mapping[str, Plan] = {
    "off": Plan("tiny", "fp32", Load(), 1),
    "quick": Plan("small", "fp32", Load(requests=16, new_tokens=16), 5),
    "standard": Plan("small", "fp32", Load(), 9),
    "full": Plan("0.6b", "int8", Load(requests=8, new_tokens=20), 3),
}
BUDGETS_S = {"quick": 27.0, "standard": 240.0, "full": 400.0}


@dataclass(frozen=True, slots=True)
class Measured:
    """The ladder, and the speed of a batch of 8 over one sequence alone, round by round."""

    ladder: Ladder
    gain: tuple[float, ...]
    threads: int
    invariant: bool


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Model and backend are part of every case's name, the stage of those of one stage."""
    plan = PLANS[profile_of(metafunc.config)]
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", [f"torch-{plan.dtype}"])
    if "model" in metafunc.fixturenames:
        metafunc.parametrize("model", [plan.model])
    if "stage" in metafunc.fixturenames:
        metafunc.parametrize("stage", [f"stage{number}" for number in range(len(COMPONENTS))])


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest) -> Measured:
    """All stages of the profile's model under its load."""
    profile = profile_of(request.config)
    plan = PLANS[profile]

    def say(text: str) -> None:
        print(f"staged_throughput: {text}", file=sys.stderr, flush=True)

    stages = Stages(torch_backend(plan.model, plan.dtype))
    with stages.serving():
        ladder = measure_for(profile, stages.ladder(), plan.load, budgets_s=BUDGETS_S, say=say)
        gain = batch_gain(stages, plan.load, plan.gain_rounds)
    return Measured(ladder, gain, stages.backend.threads, stages.backend.invariant)
