"""perfguard beside the real pytest-benchmark and pytest-codspeed; skipped where they are not installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Project

needs_benchmark = pytest.mark.skipif(
    importlib.util.find_spec("pytest_benchmark") is None, reason="pytest-benchmark is not installed"
)
needs_codspeed = pytest.mark.skipif(
    importlib.util.find_spec("pytest_codspeed") is None, reason="pytest-codspeed is not installed"
)
SUITE = """
import pytest

@pytest.mark.benchmark(group="g")
def test_it(benchmark):
    benchmark.extra_info["k"] = 1
    assert benchmark(sum, [1, 2]) == 3
    print(type(benchmark).__module__)

@pytest.mark.benchmark
def test_whole(): pass
"""


@pytest.fixture
def beside(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.tests(SUITE)
    return project


@needs_benchmark
def test_without_perfguard_everything_is_pytest_benchmarks(beside: Project) -> None:
    """Its fixture, its table, its options, its error for an option it does not know."""
    output = beside.run("-rP", "--benchmark-max-time=0.01")
    assert "pytest_benchmark.fixture" in output
    assert "benchmark 'g': 1 tests" in output
    assert "perfguard" not in output.partition("plugins:")[2].partition("\n")[2]
    assert "unrecognized arguments" in beside.run("--benchmark-no-such-option", status=4)


@needs_benchmark
@pytest.mark.parametrize("options", [[], ["-p", "benchmark"], ["-p", "no:benchmark"]])
def test_with_perfguard_it_stands_in(beside: Project, options: list[str]) -> None:
    """Perfguard's fixture, no table of the other's, no header, no traceback at the end."""
    document = beside.measure("-rP", *options)
    output = document["output"]
    assert "perfguard.benchmark.fixture" in output
    assert "2 passed" in output
    assert "benchmark 'g'" not in output
    assert "benchmark: 5" not in output
    assert all(case["metrics"] for case in document["cases"])


@needs_benchmark
def test_its_options_are_honoured_or_named_once(beside: Project) -> None:
    """Given ones are told from its defaults; its comparison and storage do not run."""
    beside.ini("addopts = --benchmark-min-rounds=25 --benchmark-autosave --benchmark-compare --benchmark-json=out.json")
    document = beside.measure()
    assert document["output"].count("ignored: --benchmark-autosave, --benchmark-compare (") == 1
    assert "Can't compare" not in document["output"]
    assert all(case["metrics"][0]["n"] >= 25 for case in document["cases"])
    assert not (beside.path / ".benchmarks").exists()
    assert len(json.loads((beside.path / "out.json").read_text())["benchmarks"]) == 2


@needs_benchmark
def test_no_option_no_warning(beside: Project) -> None:
    """Its defaults are not taken for wishes."""
    assert "ignored" not in beside.measure()["output"]


@needs_benchmark
def test_its_hooks_in_a_conftest_load_and_change_the_export(beside: Project) -> None:
    """The hook specifications are its own then."""
    (beside.path / "conftest.py").write_text(
        "def pytest_benchmark_update_json(config, benchmarks, output_json): output_json['mine'] = 1\n"
    )
    beside.measure("--perfguard-export=pytest-benchmark=out.json")
    assert json.loads((beside.path / "out.json").read_text())["mine"] == 1


@needs_benchmark
def test_its_own_compare_reads_our_export_and_we_read_its_files(beside: Project) -> None:
    """`pytest-benchmark compare` prints both runs in one table; `perfguard import` takes its JSON as a baseline."""
    beside.measure("--perfguard-export=pytest-benchmark=ours.json")
    beside.run("--benchmark-json=theirs.json", "--benchmark-max-time=0.01")
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "ours.json", "theirs.json", "--csv=table.csv"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=beside.path, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "test_it (ours)" in done.stdout
    assert "test_it (theirs)" in done.stdout
    assert "test_whole" in done.stdout
    command = [sys.executable, "-m", "perfguard.cli", "import", "pytest-benchmark", "theirs.json"]
    subprocess.run(command, cwd=beside.path, timeout=60, check=True)
    (case,) = [case for case in beside.measure()["cases"] if case["id"].endswith("test_it")]
    assert case["metrics"][0]["baseline"]["process_runs"] == 1


@needs_codspeed
def test_codspeed_keeps_its_fixture_without_perfguard_and_not_with_it(tmp_path: Path) -> None:
    """Where pytest-benchmark is absent its fixture is the other one's."""
    project = Project(tmp_path, "-p", "no:benchmark")
    project.tests(SUITE)
    if importlib.util.find_spec("pytest_benchmark") is None:
        assert "pytest_codspeed.plugin" in project.run("-rP")
    document = project.measure("-rP")
    assert "perfguard.benchmark.fixture" in document["output"]
    assert all(case["metrics"] for case in document["cases"])
