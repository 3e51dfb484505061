"""The tool that renders the documents' tables reads what the suite's report really says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from perfguard.stats.quantiles import Interval
from perfguard_suites.split_rpc.ladder import STEPS, StepResult


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/split_tables.py, which is a script and in no package."""
    path = Path(__file__).parents[3] / "tools" / "split_tables.py"
    spec = importlib.util.spec_from_file_location("split_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_step_of_the_ladder_is_read_back(tool: ModuleType) -> None:
    """Whatever its name: a note that did not match would be missing in the table without a word."""
    for step in STEPS:
        for untouched in (True, False):
            said = str(StepResult(step, 0.02, Interval(0.03, -0.01, 0.05, 0.75), 0.1, (1.1,), "transport", untouched))
            found = tool.STEP.fullmatch(said)
            assert found is not None
            assert (found["what"], found["before"], found["after"]) == (step.what, step.before, step.after)
            assert (found["predicted"], found["measured"]) == ("+20.0", "+30.0 ms [-10.0, +50.0]")
            assert found["verdict"].endswith("transport")


def test_tables_go_between_the_markers_only(tool: ModuleType) -> None:
    """What is around them stays; a document without them is refused, not overwritten."""
    document = f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter\n"
    assert tool.between_markers(document, "new\n", "x.md") == f"before\n{tool.BEGIN}\n\nnew\n\n{tool.END}\nafter\n"
    with pytest.raises(ValueError, match=r"x\.md: lacks"):
        tool.between_markers("no markers", "new", "x.md")
