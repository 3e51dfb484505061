"""Suites in pytest-benchmark's and pytest-codspeed's style, run unchanged where neither plugin is loaded."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from conftest import Project

from perfguard.benchmark.stats import FIELDS

SUITE = """
import asyncio
import json
import time

import pytest


def test_call(benchmark):
    benchmark.extra_info["size"] = 3
    assert benchmark(sum, [1, 2, 3]) == 6
    if benchmark.enabled:
        assert benchmark.stats["mean"] == benchmark.stats.stats.mean > 0
    else:
        assert benchmark.stats is None
    assert benchmark.disabled is not benchmark.enabled
    assert (benchmark.name, benchmark.fullname) == ("test_call", "test_suite.py::test_call")
    assert benchmark.param is benchmark.params is benchmark.group is None


def test_decorator(benchmark):
    @benchmark
    def result():
        return 7
    assert result == 7


@pytest.mark.benchmark(group="g", min_rounds=3, max_time=0.01, timer=time.process_time, disable_gc=True, warmup=False)
@pytest.mark.parametrize("n", [1, "a"])
def test_pedantic(benchmark, n):
    seen = []
    def setup():
        seen.append("setup")
        return (n,), {"k": 1}
    def target(x, k):
        seen.append("call")
        return x
    result = benchmark.pedantic(
        target, setup=setup, teardown=lambda x, k: seen.append("teardown"), rounds=4, warmup_rounds=2
    )
    assert result == n
    assert seen == ["setup", "call", "teardown"] * (6 if benchmark.enabled else 1)
    assert (benchmark.group, benchmark.param, benchmark.params) == ("g", str(n), {"n": n})


@pytest.mark.benchmark
def test_whole():
    sum(range(100))


@pytest.mark.benchmark(group="whole")
class TestMarked:
    calls = 0

    def test_method(self, tmp_path):
        type(self).calls += 1
        assert tmp_path.is_dir()


async def work(x):
    await asyncio.sleep(0)
    return x


def test_async(benchmark):
    assert benchmark(work, 3) == 3


def test_async_pedantic(benchmark):
    assert benchmark.pedantic(work, args=(4,), rounds=3) == 4


def test_weave(benchmark_weave):
    benchmark_weave("json.dumps")
    assert json.dumps({"a": 1}) == '{"a": 1}'


def test_weave_is_undone():
    assert json.dumps.__module__ == "json" and not hasattr(json.dumps, "__wrapped__")


def test_ordinary():
    pass
"""


def cases(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {case["id"].split("::", 1)[1]: case for case in document["cases"]}


def test_a_suite_runs_unchanged_and_its_benchmarks_are_cases(project: Project) -> None:
    """Under --perfguard each benchmark has a metric `time`; ordinary tests are left out."""
    project.tests(SUITE)
    document = project.measure()
    found = cases(document)
    assert set(found) == {
        "test_call",
        "test_decorator",
        "test_pedantic[1]",
        "test_pedantic[a]",
        "test_whole",
        "TestMarked::test_method",
        "test_async",
        "test_async_pedantic",
        "test_weave",
    }
    for case in found.values():
        assert case["status"] == "passed"
        (metric,) = case["metrics"]
        assert (metric["name"], metric["unit"], metric["verdict"]) == ("time", "s", "new")
        assert metric["median"] > 0 or "pedantic" in case["id"]  # process_time may not see a microsecond
    assert found["test_pedantic[1]"]["metrics"][0]["n"] == 4
    assert found["test_async_pedantic"]["metrics"][0]["n"] == 3
    assert found["test_call"]["extra"]["extra_info"] == {"size": 3}
    assert "extra_info: size=3" in found["test_call"]["notes"]
    assert found["TestMarked::test_method"]["extra"]["group"] == "whole"


def test_without_perfguard_every_test_runs_once_and_untimed(project: Project) -> None:
    """The suite is an ordinary one then: strict markers know `benchmark`, and nothing is printed of times."""
    project.tests(SUITE)
    assert "11 passed" in project.run("--strict-markers", "-W", "error")
    spread = project.run("-n", "2", "--benchmark-autosave")
    assert "11 passed" in spread
    assert spread.count("ignored:") == 1


def test_baselines_gate_and_phases_work_as_for_any_case(project: Project) -> None:
    """A benchmark that sleeps 20 ms longer in one phase fails the gate, and the phase is named."""
    suite = """
import os, time
import perfguard

@perfguard.phase("inner")
def inner():
    time.sleep(0.002 + float(os.environ.get("SLOWER_S", 0)))

def test_it(benchmark):
    benchmark(inner)
"""
    project.tests(suite)
    for _ in range(4):
        project.measure("--perfguard-update")
    project.tests(suite.replace('"SLOWER_S", 0', '"SLOWER_S", 0.02'))
    document = project.measure(status=1)
    change = cases(document)["test_it"]["metrics"][0]["change"]
    assert document["gate"]["slower"] == ["test_suite.py::test_it"]
    assert change["phases"][0]["path"] == "inner"


MISUSE = {
    "benchmark(int); benchmark(int)": "FixtureAlreadyUsed",
    "benchmark(int); benchmark.pedantic(int)": "FixtureAlreadyUsed",
    "benchmark.pedantic(int, setup=lambda: None, iterations=2)": "ValueError",
    "benchmark.pedantic(int, rounds=0)": "ValueError",
    "benchmark.pedantic(int, args=(1,), setup=lambda: ((2,), {}))": "TypeError",
    "benchmark(lambda: 1 / 0)": "ZeroDivisionError",
}


@pytest.mark.parametrize("perfguard", [False, True])
def test_misuse_and_errors_fail_the_test(project: Project, perfguard: bool) -> None:
    """The same kinds of errors as in that plugin, measured or not."""
    project.tests("".join(f"def test_{n}(benchmark):\n    {body}\n" for n, body in enumerate(MISUSE)))
    output = project.run(
        "--tb=line", *(["--perfguard", "--perfguard-case-seconds=0.02"] if perfguard else []), status=1
    )
    assert f"{len(MISUSE)} failed" in output
    for error in set(MISUSE.values()):
        assert len(re.findall(rf"^\S+: [\w.]*{error}", output, re.MULTILINE)) == list(MISUSE.values()).count(error), (
            output
        )


@pytest.mark.parametrize("perfguard", [False, True])
def test_a_fixture_that_is_not_used_warns(project: Project, perfguard: bool) -> None:
    """Unless the test was skipped or failed before it could."""
    project.tests(
        "import pytest\n"
        "def test_unused(benchmark): pass\n"
        "def test_skipped(benchmark): pytest.skip('x')\n"
        "@pytest.mark.xfail(strict=True)\n"
        "def test_failed(benchmark): assert 0\n"
    )
    output = project.run(*(["--perfguard"] if perfguard else []))
    assert output.count("BenchmarkWarning") == 1
    assert "test_unused: the benchmark fixture was not used" in output


@pytest.mark.parametrize("marker", ["'positional'", "speed=9"])
def test_a_marker_with_wrong_arguments_is_an_error(project: Project, marker: str) -> None:
    """ValueError naming the test, where the marker is used for measuring."""
    project.tests(f"import pytest\n@pytest.mark.benchmark({marker})\ndef test_it(benchmark): benchmark(int)\n")
    assert "ValueError: test_suite.py::test_it: the benchmark marker" in project.run(status=1)
    project.tests(f"import pytest\n@pytest.mark.benchmark({marker})\ndef test_it(): pass\n")
    assert "1 passed" in project.run()  # somebody else's marker, in an ordinary run
    assert "ValueError" in project.run("--perfguard", status=1)


ADDOPTS = (
    "addopts = --benchmark-min-rounds=30 --benchmark-disable-gc --benchmark-warmup --benchmark-autosave "
    "--benchmark-columns=min,mean --benchmark-compare --benchmark-compare-fail=mean:5% --benchmark-histogram"
)


def test_options_in_addopts_are_honoured_or_named_in_one_warning(project: Project) -> None:
    """Also where the project makes errors of warnings."""
    project.ini(ADDOPTS + "\nfilterwarnings = error")
    project.tests("def test_it(benchmark):\n    benchmark(int)\n")
    document = project.measure()
    assert cases(document)["test_it"]["metrics"][0]["n"] >= 30
    output = document["output"]
    names = "autosave, --benchmark-columns, --benchmark-compare, --benchmark-compare-fail, --benchmark-histogram"
    assert f"ignored: --benchmark-{names} (perfguard has its own way" in output
    assert output.count("ignored:") == 1
    plain = project.run()
    assert plain.count("ignored:") == 1
    assert "--benchmark-min-rounds" in plain
    assert "nothing is measured without --perfguard" in plain


@pytest.mark.parametrize(
    ("options", "perfguard", "expected"),
    [
        (["--benchmark-only"], False, "1 passed, 2 skipped"),
        (["--benchmark-skip"], False, "2 passed, 1 skipped"),
        (["--benchmark-skip", "--benchmark-only"], False, "1 passed, 2 skipped"),
        (["--benchmark-only"], True, "2 passed, 1 deselected"),
        (["--benchmark-skip"], True, "1 passed, 1 skipped, 1 deselected"),
        (["--benchmark-skip", "--benchmark-only"], True, "2 passed, 1 deselected"),
    ],
)
def test_only_and_skip_choose_as_in_that_plugin(
    project: Project, options: list[str], perfguard: bool, expected: str
) -> None:
    """Only wins over skip; in a measuring run perfguard's own cases are benchmarks too."""
    project.tests(
        "def test_one(benchmark): benchmark(int)\ndef test_own(perfguard): perfguard(int)\ndef test_ordinary(): pass\n"
    )
    assert expected in project.run(*(["--perfguard", "--perfguard-case-seconds=0.01"] if perfguard else []), *options)


def test_disable_measures_nothing_and_says_so(project: Project) -> None:
    """--benchmark-disable in addopts holds until --benchmark-enable."""
    project.ini("addopts = --benchmark-disable")
    project.tests(
        "import pytest\ndef test_it(benchmark):\n    benchmark(int)\n@pytest.mark.benchmark\ndef test_whole(): pass\n"
    )
    document = project.measure()
    assert [case["metrics"] for case in document["cases"]] == [[], []]
    assert "--benchmark-enable measures them" in document["output"]
    assert all(case["metrics"] for case in project.measure("--benchmark-enable")["cases"])


@pytest.mark.parametrize(
    "option",
    ["--benchmark-min-rounds=0", "--benchmark-max-time=x", "--benchmark-timer=nothing", "--benchmark-warmup=perhaps"],
)
def test_a_bad_option_ends_the_run_with_4(project: Project, option: str) -> None:
    """The option and its value in the message."""
    project.tests("def test_it(benchmark): benchmark(int)\n")
    assert option.partition("=")[0] in project.run("--perfguard", option, status=4)


def test_the_json_export_has_all_that_plugin_writes(project: Project) -> None:
    """Twice in one run: by its own option and by perfguard's; conftest hooks change it."""
    project.tests(SUITE)
    (project.path / "conftest.py").write_text(
        "def pytest_benchmark_update_machine_info(config, machine_info): machine_info['lab'] = 'here'\n"
        "def pytest_benchmark_update_commit_info(config, commit_info): commit_info['ticket'] = 7\n"
        "def pytest_benchmark_update_json(config, benchmarks, output_json): output_json['entries'] = len(benchmarks)\n"
        "def pytest_benchmark_scale_unit(config, unit, benchmarks, best, worst, sort): return '', 1\n"
    )
    output = project.run(
        "--perfguard",
        "--perfguard-case-seconds=0.02",
        "--perfguard-export=pytest-benchmark=a.json",
        "--benchmark-json=b.json",
    )
    assert "pytest-benchmark: a.json" in output
    first, second = (json.loads((project.path / name).read_text()) for name in ("a.json", "b.json"))
    assert first == second
    assert set(first) == {"machine_info", "commit_info", "benchmarks", "datetime", "version", "entries"}
    assert (first["machine_info"]["lab"], first["commit_info"]["ticket"], first["entries"]) == ("here", 7, 9)
    by_name = {entry["name"]: entry for entry in first["benchmarks"]}
    assert set(by_name["test_call"]["stats"]) == {*FIELDS, "data", "iterations"}
    assert by_name["test_call"]["extra_info"] == {"size": 3}
    assert by_name["test_call"]["stats"]["iterations"] > 1
    entry = by_name["test_pedantic[a]"]
    assert (entry["group"], entry["param"], entry["params"]) == ("g", "a", {"n": "a"})
    assert (entry["stats"]["rounds"], entry["stats"]["iterations"]) == (4, 1)
    assert project.run().count("passed")  # the hooks do not disturb an ordinary run either


@pytest.mark.parametrize("export", ["x.json", "other=x.json", "pytest-benchmark=", "pytest-benchmark=no/such/folder/x"])
def test_a_bad_export_ends_the_run_with_4(project: Project, export: str) -> None:
    """The option is named."""
    project.tests("def test_it(benchmark): benchmark(int)\n")
    assert "--perfguard-export" in project.run("--perfguard", f"--perfguard-export={export}", status=4)


def test_a_projects_own_benchmark_fixture_is_its_own(project: Project) -> None:
    """A conftest that defines `benchmark` anew wins, and nothing is measured; one that wraps ours measures."""
    project.tests("def test_it(benchmark):\n    assert benchmark(len, 'abc') == 3\n")
    conftest = project.path / "conftest.py"
    conftest.write_text("import pytest\n@pytest.fixture\ndef benchmark(): return lambda f, *a: f(*a)\n")
    assert "1 passed" in project.run()
    assert cases(project.measure())["test_it"]["metrics"] == []
    conftest.write_text(
        "import pytest\n@pytest.fixture\ndef benchmark(benchmark):\n    benchmark.group = 'w'\n    return benchmark\n"
    )
    assert cases(project.measure())["test_it"]["extra"]["group"] == "w"


def test_two_kinds_of_fixture_in_one_test_are_told_apart(project: Project) -> None:
    """benchmark(f) and perfguard.record in one test; timing with both is refused."""
    project.tests(
        "def test_both(benchmark, perfguard):\n    benchmark(int)\n    perfguard.count('calls', 3)\n"
        "def test_twice(benchmark, perfguard):\n    benchmark(int)\n    perfguard(int)\n"
    )
    document = project.measure(status=1)
    assert [m["name"] for m in cases(document)["test_both"]["metrics"]] == ["time", "calls"]
    assert cases(document)["test_twice"]["status"] == "failed"


def test_an_awaited_function_inside_a_running_loop_is_refused_with_advice(project: Project) -> None:
    """An event loop cannot run inside another one."""
    project.tests(
        "import asyncio\nasync def work(): pass\n"
        "def test_it(benchmark):\n    async def body(): benchmark(work)\n    asyncio.run(body())\n"
    )
    for options in ([], ["--perfguard"]):
        assert "make the test a plain" in project.run(*options, status=1)


def test_a_tracer_is_paused_while_a_benchmark_is_measured(project: Project) -> None:
    """Coverage and debuggers would be most of what is timed; they go on afterwards."""
    project.tests(
        "import sys\n"
        "def test_it(benchmark):\n"
        "    def tracer(*_): return None\n"
        "    sys.settrace(tracer)\n"
        "    try:\n"
        "        assert benchmark(sys.gettrace) is (None if benchmark.enabled else tracer)\n"
        "        assert sys.gettrace() is tracer\n"
        "    finally:\n"
        "        sys.settrace(None)\n"
    )
    project.measure()
    project.run()


def test_a_plain_start_loads_nothing_of_the_measurement(project: Project) -> None:
    """Neither the fixture's object nor asyncio is imported by perfguard until a test asks for it."""
    project.tests(
        "import sys\n"
        "def test_first():\n"
        "    loaded = {name for name in sys.modules if name.startswith('perfguard')}\n"
        "    assert not {'perfguard.benchmark.fixture', 'perfguard.measure', 'perfguard.fixtures'} & loaded\n"
        "def test_second(benchmark):\n"
        "    benchmark(int)\n"
        "    assert not {'numpy', 'perfguard.measure', 'perfguard.case_run'} & set(sys.modules)\n"
    )
    assert "2 passed" in project.run("-p", "no:hypothesispytest")
