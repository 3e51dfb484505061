"""Runs of many commits, made by hand: what a history is told is exactly what it has to give back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from baseline_runs import CLASS, KEY, SUITE, bytes_metric, ratio_metric, time_metric

from perfguard.document import Account, Case, Gate, Metric, Phase, Run

NODE = "suites/transport/test_rt.py::test_echo[shm-1MiB]"
FIRST = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)


def sha(number: int) -> str:
    """The id of commit `number`."""
    return f"{number:040x}"


def case_of(metrics: Sequence[Metric], key: str = KEY, node_id: str = NODE) -> Case:
    """A passed case with an account of two phases."""
    phases = (Phase("send", 3e-4, 3e-4, 1, 3e-4), Phase("send/copy", 1e-4, 1e-4, 1, 1e-4))
    return Case(node_id, key, SUITE, "passed", {"size": 1}, tuple(metrics), Account(5e-4, 1e-4, phases, 1, 1e-4))


def history_run(
    number: int,
    median: float = 4e-4,
    *,
    cases: Sequence[Case] | None = None,
    branch: str = "main",
    machine_class: str = CLASS,
    position: int | None = -1,
    dirty: bool = False,
    samples: Sequence[float] = (),
) -> Run:
    """The run of commit `number`, a day after the one before; at that position unless another (or None) is given."""
    started = FIRST + dt.timedelta(days=number)
    metrics = (
        time_metric(median, samples=tuple(samples), verdict="same", fastest=median * 0.98, reference_s=2e-4),
        bytes_metric(verdict="same"),
        ratio_metric(verdict="same"),
    )
    commit = {
        "id": sha(number),
        "branch": branch,
        "dirty": dirty,
        "time": (started - dt.timedelta(hours=1)).isoformat(),
        "position": number + 1 if position == -1 else position,
        "parents": [sha(number - 1)] if number else [],
    }
    return Run(
        run_id=f"run-{branch}-{machine_class}-{number}",
        started=started.isoformat(timespec="milliseconds"),
        finished=None,
        profile="quick",
        machine={"class": machine_class, "cpus": 2},
        commit=commit,
        cases=tuple(cases) if cases is not None else (case_of(metrics),),
        gate=Gate(0),
    )
