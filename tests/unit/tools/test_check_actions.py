"""Claims about the lint of composite actions, and about the workflow that docs/ci.md shows."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

TOP = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def lint() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_actions", TOP / "tools/check_actions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_actions"] = module
    spec.loader.exec_module(module)
    return module


GOOD = """\
name: n
description: d
inputs:
  who:
    description: whom to greet
    default: you
outputs:
  said:
    description: what was said
    value: ${{ steps.greet.outputs.said }}
runs:
  using: composite
  steps:
    - name: Greet
      id: greet
      shell: bash
      env:
        WHO: ${{ inputs.who }}
      run: |
        echo "said=$WHO" >> "$GITHUB_OUTPUT"
"""


def test_our_actions_and_a_plain_one_are_clean(lint: ModuleType, tmp_path: Path) -> None:
    """No problem in either; workflows give them only inputs that they have."""
    (tmp_path / "action.yml").write_text(GOOD)
    for path in (tmp_path / "action.yml", *(TOP / ".github/actions").glob("*/action.yml")):
        assert list(lint.problems(path)) == []
    assert list(lint.used_by_workflows(TOP / ".github/workflows", TOP)) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"said=$WHO"', '"said=${{ inputs.who }}"', "an expression in shell text"),
        ("      shell: bash\n", "", "no `shell: bash`"),
        ("${{ inputs.who }}", "${{ inputs.whom }}", "there is no input whom"),
        ("${{ inputs.who }}", "you", "input who is used nowhere"),
        ("steps.greet.", "steps.meet.", "there is no step meet"),
        ('"said=$WHO"', '"said"', "env WHO is not used"),
        ('"$GITHUB_OUTPUT"', '"$GITHUB_OUTPUT', "bash says"),
        ("      run: |", "      uses: a/b@main\n      run: |", "a/b@main is pinned to no version"),
        ("    default: you", "    default: 5", "its default is no text"),
        ("description: d", "summary: d", "unknown field summary"),
    ],
)
def test_what_is_wrong_is_named(lint: ModuleType, tmp_path: Path, old: str, new: str, problem: str) -> None:
    """One fault each."""
    assert old in GOOD
    (tmp_path / "action.yml").write_text(GOOD.replace(old, new))
    assert any(problem in each for each in lint.problems(tmp_path / "action.yml"))


def test_an_unknown_input_of_a_local_action_is_found(lint: ModuleType, tmp_path: Path) -> None:
    """A workflow that misspells one, and one that uses an action which is not there."""
    (tmp_path / "greet").mkdir()
    (tmp_path / "greet/action.yml").write_text(GOOD)
    steps = "[{uses: ./greet, with: {whom: me}}, {uses: ./gone}]"
    (tmp_path / "w.yml").write_text(f"on: push\njobs: {{a: {{runs-on: x, steps: {steps}}}}}\n")
    found = " ".join(lint.used_by_workflows(tmp_path, tmp_path))
    assert "./greet has no input whom" in found
    assert "there is no" in found


def test_the_gate_is_adopted_in_ten_lines() -> None:
    """The first block of docs/ci.md: at most ten lines, and the action that it names is the one that is here."""
    first = re.findall(r"```yaml\n(.*?)```", (TOP / "docs/ci.md").read_text(), re.DOTALL)[0]
    assert len(first.splitlines()) <= 10
    uses = yaml.safe_load(first)["jobs"]["perf"]["steps"][-1]["uses"]
    folder = uses.partition("/perfguard/")[2].partition("@")[0]
    assert (TOP / folder / "action.yml").is_file()
