"""Benchmarks measured against another revision, in turn."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import Project

SUITE = """
import time

def test_call(benchmark):
    benchmark(time.sleep, {seconds})
    assert benchmark.stats["min"] >= {seconds}

def test_pedantic(benchmark):
    torn = []
    result = benchmark.pedantic(
        lambda x: time.sleep({seconds}) or x, setup=lambda: ((3,), {{}}), teardown=torn.append, rounds=5
    )
    assert result == 3
    assert set(torn) == {{3}}
"""


@pytest.mark.long
def test_both_styles_are_compared_in_turn(project: Project) -> None:
    """Four times slower than HEAD: `benchmark(...)` and `benchmark.pedantic` with a set-up are both found slower."""
    project.tests(SUITE.format(seconds=0.001))
    _git(project.path, "init", "-q")
    _git(project.path, "add", "-A")
    _git(project.path, "commit", "-q", "-m", "reference")
    project.tests(SUITE.format(seconds=0.004))
    document = project.measure("--perfguard-against=HEAD", "--perfguard-alpha=10%", status=1)
    verdicts = {case["id"].split("::")[1]: case["metrics"][0]["verdict"] for case in document["cases"]}
    assert verdicts == {"test_call": "slower", "test_pedantic": "slower"}


def _git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, timeout=60)
