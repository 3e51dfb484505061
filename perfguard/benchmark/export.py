"""The run as pytest-benchmark's JSON, for the tools that read it: its compare command, CI actions, dashboards.

Every passed case with a metric `time` is an entry, whichever fixture measured it. The figures are of the rounds
in the run document; nothing is measured again.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfguard.benchmark.stats import Result, Stats
from perfguard.document import Case, Metric, Run
from perfguard.gate.judge import MAIN_METRIC
from perfguard.report.source import Source

# The version of pytest-benchmark whose layout this is.
LAYOUT = "5.3.1"


def report(source: Source) -> str:
    """The text of the file, for the registry of exports."""
    return render(source.run, source.config)


def render(run: Run, config: Any) -> str:
    """The text of the file; conftest hooks (`pytest_benchmark_update_*`) may change it, as they do in that plugin.

    Without `config` the document is of a run that was stored: no hooks, and no more of its machine than it says.
    """
    if config is None:
        return json.dumps(as_map(run, project=Path.cwd().name, here=False), indent=4, default=str) + "\n"
    document = as_map(run, project=config.rootpath.name)
    hook = config.hook
    hook.pytest_benchmark_update_machine_info(config=config, machine_info=document["machine_info"])
    hook.pytest_benchmark_update_commit_info(config=config, commit_info=document["commit_info"])
    hook.pytest_benchmark_update_json(config=config, benchmarks=document["benchmarks"], output_json=document)
    return json.dumps(document, indent=4, default=str) + "\n"


def as_map(run: Run, project: str, *, here: bool = True) -> dict[str, Any]:
    """The document as plain JSON types. `here`: whether this is the machine that measured."""
    timed = ((case, metric) for case in run.cases if case.status == "passed" and (metric := case.metric(MAIN_METRIC)))
    return {
        "machine_info": machine_info(run.machine) if here else stored_machine_info(run.machine),
        "commit_info": commit_info(run.commit, project),
        "benchmarks": [entry(case, metric).as_dict() for case, metric in timed],
        "datetime": run.finished or run.started,
        "version": LAYOUT,
    }


def entry(case: Case, metric: Metric) -> Result:
    """One case as that plugin has it. `iterations` are the calls of a round, from the case's account."""
    facts = case.extra
    name, param = name_and_param(case.id)
    calls = case.account.calls if case.account is not None else metric.n
    return Result(
        name=str(facts.get("name", name)),
        fullname=case.id,
        group=facts.get("group"),
        param=facts.get("param", param),
        params=dict(case.params) or None,
        extra_info=dict(facts.get("extra_info", {})),
        iterations=max(1, round(calls / metric.n)),
        options=dict(facts.get("options", {})),
        stats=Stats(metric.samples),
    )


def name_and_param(case_id: str) -> tuple[str, str | None]:
    """`test_x[a-1]` and `a-1` of a node id; None without parameters."""
    head, bracket, rest = case_id.partition("[")
    return head.rsplit("::", 1)[-1] + bracket + rest, rest.removesuffix("]") if bracket else None


def machine_info(machine: Mapping[str, Any]) -> dict[str, Any]:
    """The machine under that plugin's names; call it on the machine that measured."""
    return {
        "node": platform.node(),
        "processor": platform.processor(),
        "machine": platform.machine(),
        "python_compiler": platform.python_compiler(),
        "python_implementation": platform.python_implementation(),
        "python_implementation_version": platform.python_version(),
        "python_version": platform.python_version(),
        "python_build": list(platform.python_build()),
        "release": platform.release(),
        "system": platform.system(),
        "cpu": {
            "brand_raw": machine.get("cpu_model", ""),
            "count": machine.get("cpus"),
            "arch_string_raw": platform.machine(),
        },
    }


def stored_machine_info(machine: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a machine that is not this one: what the run document says of it, and "" for the rest."""
    implementation, _, version = str(machine.get("python", "")).partition(" ")
    architecture = str(machine.get("architecture", ""))
    return {
        "node": "",
        "processor": "",
        "machine": architecture,
        "python_compiler": "",
        "python_implementation": implementation,
        "python_implementation_version": version,
        "python_version": version,
        "python_build": ["", ""],
        "release": str(machine.get("kernel", "")),
        "system": str(machine.get("os", "")),
        "cpu": {
            "brand_raw": machine.get("cpu_model", ""),
            "count": machine.get("cpus"),
            "arch_string_raw": architecture,
        },
    }


def commit_info(commit: Mapping[str, Any], project: str) -> dict[str, Any]:
    """The commit under that plugin's names. When it was authored is not known here."""
    return {
        "id": commit.get("id") or "unversioned",
        "time": commit.get("time") or None,
        "author_time": None,
        "dirty": bool(commit.get("dirty")),
        "project": project,
        "branch": commit.get("branch") or "(unknown)",
    }
