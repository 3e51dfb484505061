"""Fixtures of the staged cases: one ladder of all stages a backend, measured when the first case asks for it.

Backends are torch, and llama.cpp where its binding is installed; PERFGUARD_STAGED_BACKENDS chooses among them (as
`llama.cpp` or `torch,llama.cpp`), PERFGUARD_STAGED_GGUF gives llama.cpp a file of the user's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from perfguard.ladder import Ladder, Load, measure_for, profile_of
from perfguard_suites.split_rpc.threads import let_idle_threads_sleep

let_idle_threads_sleep()  # before torch is imported

from perfguard.errors import OptionError  # noqa: E402 - see above
from perfguard_suites.staged_throughput.backend import Backend  # noqa: E402
from perfguard_suites.staged_throughput.batching import alike_alone, batch_gain  # noqa: E402
from perfguard_suites.staged_throughput.llamacpp import BACKENDS  # noqa: E402
from perfguard_suites.staged_throughput.llamacpp.library import installed  # noqa: E402
from perfguard_suites.staged_throughput.stages import COMPONENTS, Stages, targets_of  # noqa: E402

CHOICE, OWN_FILE = "PERFGUARD_STAGED_BACKENDS", "PERFGUARD_STAGED_GGUF"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a profile measures, and for how long; `kind`: torch's arithmetic, or the type of llama.cpp's file."""

    model: str
    kind: str
    load: Load
    gain_rounds: int


PLANS: Mapping[str, Mapping[str, Plan]] = {
    "torch": {
        "off": Plan("tiny", "fp32", Load(), 1),
        "quick": Plan("small", "fp32", Load(requests=16, new_tokens=16), 5),
        "standard": Plan("small", "fp32", Load(), 9),
        "full": Plan("0.6b", "int8", Load(requests=8, new_tokens=20), 3),
    },
    "llama.cpp": {
        "off": Plan("tiny", "q4_k_m", Load(), 1),
        "quick": Plan("small", "q4_k_m", Load(requests=16, new_tokens=16), 5),
        "standard": Plan("small", "q4_k_m", Load(), 9),
        "full": Plan("0.6b", "q4_k_m", Load(requests=8, new_tokens=20), 3),
    },
}
BUDGETS_S = {"quick": 27.0, "standard": 240.0, "full": 400.0}


@dataclass(frozen=True, slots=True)
class Measured:
    """A backend's ladder, and the speed of a batch of 8 over one sequence alone, round by round.

    `alike`: of the load's sequences, the share whose tokens are the same in a batch and alone.
    """

    ladder: Ladder
    gain: tuple[float, ...]
    alike: float
    threads: int
    invariant: bool
    targets: Mapping[int, float]


def chosen_backends() -> Sequence[str]:
    """Which backends are measured. Raises `OptionError`."""
    asked = os.environ.get(CHOICE, "")
    if not asked:
        return BACKENDS if installed() else BACKENDS[:1]
    found = [each.strip() for each in asked.split(",")]
    if unknown := [each for each in found if each not in BACKENDS]:
        raise OptionError(CHOICE, f"{unknown[0]!r:.40} is no backend", f"one or more of {','.join(BACKENDS)}")
    return found


def open_backend(name: str, plan: Plan) -> Backend:
    """The backend of a plan."""
    if name == "torch":
        from perfguard_suites.staged_throughput.torch_backend import torch_backend

        return torch_backend(plan.model, plan.kind)
    from perfguard_suites.staged_throughput.llamacpp.opening import llama_backend

    own = os.environ.get(OWN_FILE)
    return llama_backend(plan.model, plan.kind, gguf=Path(own) if own else None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Backend and model are part of every case's name, the stage of those of one stage."""
    if "backend" in metafunc.fixturenames:
        found = cases(profile_of(metafunc.config))
        metafunc.parametrize(("backend", "model"), list(found), scope="session")
    if "stage" in metafunc.fixturenames:
        metafunc.parametrize("stage", [f"stage{number}" for number in range(len(COMPONENTS))])


def cases(profile: str) -> Mapping[tuple[str, str], tuple[str, Plan]]:
    """What is measured in a profile, by the names of backend and model in its cases."""
    own = os.environ.get(OWN_FILE)
    found = {}
    for name in chosen_backends():
        plan = PLANS[name][profile]
        model = Path(own).stem if own and name == "llama.cpp" else plan.model
        found[f"{name}-{plan.kind}", model] = name, plan
    return found


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest, backend: str, model: str) -> Measured:
    """All stages of the profile's model on a backend, under its load."""
    profile = profile_of(request.config)
    name, plan = cases(profile)[backend, model]

    def say(text: str) -> None:
        print(f"staged_throughput: {backend}: {text}", file=sys.stderr, flush=True)

    stages = Stages(open_backend(name, plan))
    targets = targets_of(plan.model)
    with stages.stack.engine, stages.serving():
        ladder = measure_for(profile, stages.ladder(targets=targets), plan.load, budgets_s=BUDGETS_S, say=say)
        gain = batch_gain(stages, plan.load, plan.gain_rounds)
        alike = alike_alone(stages, plan.load)
    return Measured(ladder, gain, alike, stages.backend.threads, stages.backend.invariant, targets)
