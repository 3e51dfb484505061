"""Fixtures of the split cases: one field of variants, measured in turn, that all cases report from."""

from __future__ import annotations

import sys

import pytest

from perfguard_suites.split_rpc.threads import let_idle_threads_sleep

# Before anything here imports torch; where something else did, its threads may spin, and the report says so.
THREADS_SLEEP = let_idle_threads_sleep()

import torch  # noqa: E402 - see above

from perfguard_suites.split_rpc import cuda_ipc  # noqa: E402
from perfguard_suites.split_rpc.field import Field, FieldPlan, measure  # noqa: E402
from perfguard_suites.split_rpc.server import ModelSource  # noqa: E402
from perfguard_suites.split_rpc.variants import QUICK, VARIANTS  # noqa: E402

PLANS = {
    "off": FieldPlan(ModelSource("tiny"), prompt=8, steps=1, budget_s=0.0, least_rounds=1),
    "quick": FieldPlan(ModelSource("small"), prompt=128, steps=3, budget_s=24.0, least_rounds=3, most_sweeps=2),
    "standard": FieldPlan(ModelSource("small"), prompt=256, steps=8, budget_s=120.0, least_rounds=8),
    "full": FieldPlan(ModelSource("llama-1b"), prompt=256, steps=4, budget_s=180.0, least_rounds=2),
}
# llama-1b needs 5 GB a process in float32, and its masked weights 10 more: the ladder's landmarks only.
FULL = ("seed", "naive-ipc", "shm", "shm-loans", "trusted-minimal", "local-embedding", "linear-only", "whole-layer")
NAMES = {"off": tuple(VARIANTS), "quick": QUICK, "standard": tuple(VARIANTS), "full": FULL}


def runnable(name: str) -> bool:
    """Whether this machine has what a variant needs."""
    return not VARIANTS[name].by_handle or cuda_ipc.available()


def profile_of(config: pytest.Config) -> str:
    """The profile of this run, `off` for an ordinary test run."""
    if not config.getoption("perfguard", False):
        return "off"
    return str(config.getoption("perfguard_profile", None) or config.getini("perfguard_profile"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`variant` runs over the profile's variants; `work`, model, request and the server's GPU, is in all names.

    So ratios of a GPU's server are not compared with those of a CPU's.
    """
    profile = profile_of(metafunc.config)
    if "variant" in metafunc.fixturenames:
        metafunc.parametrize("variant", NAMES[profile])
    if "work" in metafunc.fixturenames:
        plan, device = PLANS[profile], "-cuda" if torch.cuda.is_available() else ""
        metafunc.parametrize("work", [f"{plan.source.model}-{plan.prompt}+{plan.steps}{device}"])


@pytest.fixture(scope="session")
def field(request: pytest.FixtureRequest) -> Field:
    """The whole field of the profile, measured when the first case asks for it."""
    profile = profile_of(request.config)
    return measure(
        PLANS[profile],
        [VARIANTS[name] for name in NAMES[profile] if runnable(name)],
        lambda text: print(f"split_rpc: {text}", file=sys.stderr, flush=True),
    )
