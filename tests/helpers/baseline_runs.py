"""Runs to store as baselines, made by hand: what a test measures is exactly what it wrote."""

from __future__ import annotations

from typing import Any

from perfguard.document import Account, Case, Metric, Phase, Run

CLASS = "test-2c-4g-linux-py3.11-abc123"
KEY = "suites.transport.test_rt::test_echo[shm-1MiB]"
SUITE = "transport"


def time_metric(median: float = 4.0e-4, **changes: Any) -> Metric:
    """A gated time, 2 % wide."""
    fields: dict[str, Any] = {
        "name": "time",
        "unit": "s",
        "direction": "lower",
        "kind": "time",
        "gated": True,
        "n": 120,
        "median": median,
        "ci": (median * 0.99, median * 1.01),
        "confidence": 0.95,
    }
    return Metric(**{**fields, **changes})


def bytes_metric(median: float = 1048576.0, **changes: Any) -> Metric:
    """A gated exact size."""
    fields: dict[str, Any] = {
        "name": "sent",
        "unit": "B",
        "direction": "lower",
        "kind": "bytes",
        "gated": True,
        "n": 1,
        "median": median,
        "ci": (median, median),
        "confidence": 1.0,
        "limit": 0.0,
    }
    return Metric(**{**fields, **changes})


def ratio_metric(median: float = 1.04, **changes: Any) -> Metric:
    """An ungated ratio."""
    fields: dict[str, Any] = {
        "name": "over_memcpy",
        "unit": "",
        "direction": "lower",
        "kind": "ratio",
        "gated": False,
        "n": 30,
        "median": median,
        "ci": (median * 0.99, median * 1.01),
        "confidence": 0.95,
    }
    return Metric(**{**fields, **changes})


def account(**phases_s: float) -> Account:
    """One call's account with these phases; 1 µs belongs to no phase."""
    wall_s = sum(phases_s.values()) + 1e-6
    phases = tuple(Phase(path, s, s, 1, median_s=s) for path, s in phases_s.items())
    return Account(wall_s, 1e-6, phases, unaccounted_median_s=1e-6)


def case(*metrics: Metric, key: str = KEY, suite: str = SUITE, **fields: Any) -> Case:
    """A passed case."""
    return Case(**{"id": f"tests/{key}", "key": key, "suite": suite, "status": "passed", "metrics": metrics, **fields})


def run(*cases: Case, second: int = 0, machine_class: str = CLASS, commit: str = "ab12cd3" * 5) -> Run:
    """A run of these cases, started at that second of a certain minute."""
    return Run(
        run_id=f"run-{second}",
        started=f"2026-01-31T12:{second // 60:02d}:{second % 60:02d}.250+00:00",
        finished=None,
        profile="quick",
        machine={
            "class": machine_class,
            "cpu_model": "Test CPU",
            "cpus": 2,
            "memory_gib": 4,
            "hypervisor": "yes",
        },
        commit={"id": commit, "dirty": False, "branch": "main", "time": ""},
        cases=cases,
    )
