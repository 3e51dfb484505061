"""Check the composite actions, which actionlint leaves alone: their fields, inputs, outputs, steps and shell text.

Shell text holds no `${{ }}` at all: what a branch or title is called would else be run. Values go through `env`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

TOP = {"name", "description", "author", "inputs", "outputs", "runs", "branding"}
INPUT = {"description", "required", "default", "deprecationMessage"}
STEP = {"name", "id", "if", "shell", "run", "env", "working-directory", "uses", "with", "continue-on-error"}
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
PINNED = re.compile(r"[\w.-]+/[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})")


def problems(path: Path) -> Iterator[str]:
    """What is wrong with one `action.yml`."""
    action = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(action, dict) or not isinstance(action.get("runs"), dict):
        yield "is no action with `runs`"
        return
    inputs, outputs, steps = action.get("inputs") or {}, action.get("outputs") or {}, action["runs"].get("steps") or []
    yield from (f"unknown field {name}" for name in action.keys() - TOP)
    yield from (f"no {name}" for name in ("name", "description") if not action.get(name))
    if action["runs"].get("using") != "composite" or not steps:
        yield "runs no composite steps"
    for name, each in inputs.items():
        yield from (f"input {name}: unknown field {field}" for field in each.keys() - INPUT)
        if not each.get("description"):
            yield f"input {name}: no description"
        if not isinstance(each.get("default", ""), str):
            yield f"input {name}: its default is no text: quote it"
    text = "\n".join(_expressions(steps))
    used = set(re.findall(r"inputs\.([\w-]+)", text))
    yield from (f"input {name} is used nowhere" for name in sorted(inputs.keys() - used))
    yield from (f"there is no input {name}" for name in sorted(used - inputs.keys()))
    ids = {step.get("id") for step in steps}
    referred = re.findall(r"steps\.([\w-]+)\.", text + "\n".join(str(each.get("value")) for each in outputs.values()))
    yield from (f"there is no step {name}" for name in sorted(set(referred) - ids))
    yield from (f"output {name}: no description or value" for name, o in outputs.items() if not o.keys() >= _OUTPUT)
    for step in steps:
        yield from (f"step {step.get('name')}: {problem}" for problem in _step(step))


_OUTPUT = {"description", "value"}


def _step(step: dict[str, Any]) -> Iterator[str]:
    yield from (f"unknown field {name}" for name in step.keys() - STEP)
    if not step.get("name"):
        yield "no name"
    if ("run" in step) == ("uses" in step):
        yield "either `run` or `uses`"
    if "uses" in step and not PINNED.fullmatch(step["uses"]):
        yield f"{step['uses']} is pinned to no version"
    if "run" not in step:
        return
    if step.get("shell") != "bash":
        yield "no `shell: bash`"
    if "${{" in step["run"]:
        yield "an expression in shell text: pass it through `env`"
    named = set(re.findall(r"\$\{?(\w+)", step["run"]))
    yield from (f"env {name} is not used" for name in step.get("env", {}) if name not in named and name not in _READ)
    checked = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True, check=False, timeout=30)
    if checked.returncode:
        yield f"bash says: {checked.stderr.strip()}"


# Read by the program that the step starts.
_READ = {"GITHUB_TOKEN"}


def _expressions(tree: Any, key: str = "") -> Iterator[str]:
    """All expressions below; an `if` is one without its braces."""
    if isinstance(tree, dict):
        for name, each in tree.items():
            yield from _expressions(each, str(name))
    elif isinstance(tree, list):
        for each in tree:
            yield from _expressions(each)
    elif key == "if":
        yield str(tree)
    elif isinstance(tree, str):
        yield from EXPRESSION.findall(tree)


def used_by_workflows(workflows: Path, root: Path) -> Iterator[str]:
    """Where a workflow gives a local action an input that it does not have, or there is no such action."""
    for path in sorted(workflows.glob("*.y*ml")):
        jobs = yaml.safe_load(path.read_text(encoding="utf-8")).get("jobs") or {}
        for step in (step for job in jobs.values() for step in job.get("steps") or []):
            uses = str(step.get("uses", ""))
            if not uses.startswith("./"):
                continue
            file = root / uses / "action.yml"
            if not file.is_file():
                yield f"{path}: there is no {file}"
                continue
            known = yaml.safe_load(file.read_text(encoding="utf-8")).get("inputs") or {}
            yield from (f"{path}: {uses} has no input {name}" for name in step.get("with", {}) if name not in known)


def main(folder: str) -> int:
    """0 if all actions below the folder that holds `workflows` and `actions` are clean."""
    github = Path(folder)
    files = sorted((github / "actions").glob("*/action.yml"))
    found = [f"{path}: {problem}" for path in files for problem in problems(path)]
    found += used_by_workflows(github / "workflows", github.parent)
    print(*found, f"actions: {len(files)} files, {len(found)} problems", sep="\n")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
