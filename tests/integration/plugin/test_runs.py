"""Claims about whole runs of `pytest --perfguard`, each a real pytest process in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from perfguard.document import from_json
from perfguard.events import Replay
from perfguard.events.fold import fold
from perfguard.pictures import Bar, Lanes, Rung, Rungs, read

SUITE = """
import os
import time

import pytest

import perfguard as pg


def spin(ms):
    time.sleep(ms / 1000)  # other work on the machine stretches a sleep less than it would a busy loop


@pg.phase("serialize")
def serialize():
    spin(2 + float(os.environ.get("SLOWER_MS", 0)))


@pytest.mark.perfguard(limit="30%")
def test_request(perfguard):
    def request():
        with perfguard.phase("parse"):
            spin(1)
        serialize()
        return "reply"

    assert perfguard(request) == "reply"
    perfguard.count("calls", int(os.environ.get("CALLS", 98)), unit="calls")


def test_ratio(perfguard):
    comparison = perfguard.compare({"one": lambda: spin(0.3), "two": lambda: spin(0.6)})
    assert comparison.rounds >= 1
    assert comparison.ratio("two", "one").estimate > 0


def test_ordinary():
    pass
"""


class Project:
    """A folder with a performance suite, and how to run it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path

    def run(self, *args: str, status: int = 0, perfguard: bool = True, **environment: str) -> str:
        command = [
            sys.executable,
            "-m",
            "pytest",
            *(["--perfguard", "--perfguard-case-seconds=0.05"] if perfguard else []),
            *args,
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=self.path,
            timeout=120,
            check=False,
            env={**os.environ, **environment},
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def document(self, *args: str, status: int = 0, **environment: str) -> dict[str, Any]:
        self.run("--perfguard-json=run.json", *args, status=status, **environment)
        document: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        return document


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(test_suite=SUITE)
    return Project(pytester)


def metrics(document: dict[str, Any], test: str) -> dict[str, Any]:
    (case,) = [c for c in document["cases"] if c["id"].endswith(f"::{test}")]
    return {m["name"]: m for m in case["metrics"]}


def test_the_run_document_keeps_its_contract(project: Project) -> None:
    """Every name that other tools read is there, and the account closes."""
    document = project.document()
    assert document["schema"] == "perfguard.run/1"
    assert {"run_id", "started", "finished", "profile", "machine", "commit", "cases", "gate"} <= set(document)
    assert document["machine"]["class"]
    assert {"id", "dirty"} <= set(document["commit"])
    case = document["cases"][0]
    assert {"id", "suite", "params", "status", "metrics", "account", "notes"} <= set(case)
    assert {
        "name",
        "unit",
        "direction",
        "kind",
        "gated",
        "n",
        "median",
        "ci",
        "confidence",
        "samples",
        "baseline",
        "change",
        "verdict",
    } <= set(case["metrics"][0])
    assert set(document["gate"]) >= {"exit_status", "slower", "noisy", "missing", "reason"}
    account = case["account"]
    assert {p["path"] for p in account["phases"]} == {"parse", "serialize"}
    total = sum(p["self_s"] for p in account["phases"]) + account["unaccounted_s"]
    assert total == pytest.approx(account["wall_s"])
    calls = account["calls"]
    assert all(p["count"] == calls for p in account["phases"])
    assert metrics(document, "test_request")["calls"]["samples"] == [98.0]
    assert from_json(document).case("test_suite::test_request") is not None


def test_only_performance_cases_run_and_an_ordinary_run_runs_all(project: Project) -> None:
    """Under --perfguard the ordinary test is deselected; without it all three run as ordinary tests."""
    assert "2 passed, 1 deselected" in project.run()
    assert "3 passed" in project.run(perfguard=False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-k", "ratio"], "1 passed, 2 deselected"),
        (["-p", "no:cacheprovider"], "2 passed"),
        (["-x", "-q"], "2 passed"),
        (["-m", "perfguard"], "1 passed, 2 deselected"),
        (["-p", "no:terminal"], ""),
        (["--import-mode=importlib"], "2 passed"),
        (["-v", "--tb=no"], "2 passed"),
    ],
)
def test_it_lives_with_pytests_own_options(project: Project, options: list[str], expected: str) -> None:
    """Selection, the cache, verbosity and import modes work as they do without perfguard."""
    assert expected in project.run(*options)


def test_the_keys_in_baselines_do_not_depend_on_rootdir(project: Project) -> None:
    """Run from elsewhere, with another rootdir, a case finds its baseline: no metric is new."""
    project.run("--perfguard-update", f"--perfguard-baselines={project.path}/base")
    elsewhere = project.path / "elsewhere"
    elsewhere.mkdir()
    document = project.document(
        f"--rootdir={elsewhere}", f"--perfguard-baselines={project.path}/base", str(project.path / "test_suite.py")
    )
    assert {m["verdict"] for m in metrics(document, "test_request").values()} <= {"same", "noisy", "faster"}


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_the_keys_do_not_depend_on_the_import_mode(project: Project, mode: str) -> None:
    """A module in a package is `package.module`, one outside is its own name, whatever pytest calls them."""
    package = project.path / "outer" / "perf"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "test_inner.py").write_text("def test_it(perfguard):\n    perfguard(int)\n")
    (project.path / "outer" / "test_alone.py").write_text("def test_it(perfguard):\n    perfguard(int)\n")
    document = project.document(f"--import-mode={mode}", "outer")
    assert {(c["suite"], c["key"]) for c in document["cases"]} == {
        ("perf", "perf.test_inner::test_it"),
        ("alone", "test_alone::test_it"),
    }


def test_last_failed_runs_the_broken_case_only(project: Project) -> None:
    """--lf after a failure measures what failed."""
    project.run(status=1, CALLS="x")
    assert "1 passed" in project.run("--lf")


def test_a_slowed_phase_fails_the_gate_and_is_named(project: Project) -> None:
    """A deliberate 200 ms in one of two phases exits 1 and names that phase with over 90 % of the change."""
    for _ in range(4):
        project.run("--perfguard-update")
    document = project.document(status=1, SLOWER_MS="200")
    gate = document["gate"]
    assert gate["exit_status"] == 1
    assert gate["slower"] == ["test_suite.py::test_request"]
    change = metrics(document, "test_request")["time"]["change"]
    assert change["ci"][0] > 1.3
    assert change["phases"][0]["path"] == "serialize"
    assert change["phases"][0]["share"] > 0.9
    text = project.run(status=1, SLOWER_MS="200")
    assert "slower: test_suite.py::test_request" in text
    assert re.search(r"serialize \+\d+(\.\d+)? ms = ", text)
    assert "of the change" in text


def test_the_same_code_twice_passes(project: Project) -> None:
    """A run against its own baselines exits 0, and what it cannot tell is called noisy, not same."""
    project.run("--perfguard-update")
    document = project.document()
    assert document["gate"]["exit_status"] == 0
    verdicts = {m["verdict"] for c in document["cases"] for m in c["metrics"] if m["gated"]}
    assert verdicts <= {"same", "noisy", "faster"}


def test_one_call_more_fails_the_gate(project: Project) -> None:
    """Exact counts are gated by equality: 99 calls instead of 98 is slower, whatever the noise."""
    project.run("--perfguard-update", CALLS="98")
    document = project.document(status=1, CALLS="99")
    assert metrics(document, "test_request")["calls"]["verdict"] == "slower"


def test_strict_fails_without_baselines_and_fail_on_chooses(project: Project) -> None:
    """Without a baseline the gate passes by default and fails when strict or when missing fails."""
    project.run()
    assert "missing" in project.run("--perfguard-strict", status=1)
    project.run("--perfguard-fail-on=slower,missing", status=1)


def test_ini_keys_do_what_the_options_do(project: Project) -> None:
    """`perfguard`, profile, budget and json can live in the ini file; the command line overrides them."""
    (project.path / "pytest.ini").write_text(
        "[pytest]\nperfguard = true\nperfguard_case_seconds = 0.05\nperfguard_json = from_ini.json\n"
        "perfguard_strict = true\n"
    )
    assert "gate fails" in project.run(perfguard=False, status=1)
    assert json.loads((project.path / "from_ini.json").read_text())["profile"] == "quick"
    project.run("--perfguard-json=given.json", "--perfguard-profile=standard", perfguard=False, status=1)
    assert json.loads((project.path / "given.json").read_text())["profile"] == "standard"


def test_baselines_keep_one_summary_per_run(project: Project) -> None:
    """An update of a full file leaves the last ten process runs, portable and absolute apart."""
    project.run("--perfguard-update", "-k", "ratio")
    portable = list((project.path / "baselines" / "portable").glob("*.toml"))
    absolute = [p for p in (project.path / "baselines").glob("*/*.toml") if p.parent.name != "portable"]
    assert len(portable) == len(absolute) == 1
    for file in (*portable, *absolute):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(11 * line if line.lstrip().startswith("{ date =") else line for line in lines))
    project.run("--perfguard-update", "-k", "ratio")
    assert portable[0].read_text().count("{ date =") == 10
    assert "two_over_one" in portable[0].read_text()


def test_a_recording_folds_to_the_document(project: Project) -> None:
    """The .pgrun file alone gives the very document that the run wrote."""
    document = project.document("--perfguard-record=run.pgrun")
    replayed = fold(Replay(project.path / "run.pgrun"))
    written = from_json(document)
    assert replayed.cases == written.cases
    assert replayed.gate == written.gate
    assert (replayed.run_id, replayed.started, replayed.finished) == (written.run_id, written.started, written.finished)


def test_under_xdist_it_refuses_to_time(project: Project) -> None:
    """With -n 2 the run ends at once, status 4, and says why."""
    assert "timings" in project.run("-n", "2", status=4)
    assert "3 passed" in project.run("-n", "2", perfguard=False)


def test_async_tests_and_results(project: Project) -> None:
    """A coroutine function is measured by awaiting it, with or without --perfguard."""
    project.pytester.makepyfile(
        test_suite="""
        import asyncio

        async def work():
            await asyncio.sleep(0.001)
            return 7

        def test_async(perfguard):
            assert perfguard(work) == 7
    """
    )
    document = project.document()
    assert metrics(document, "test_async")["time"]["median"] > 0.001
    project.run(perfguard=False)


def test_an_account_and_a_picture_that_the_case_put_together(project: Project) -> None:
    """Of calls: the account closes, with the rest unaccounted. Pictures are in the document, as data."""
    project.pytester.makepyfile(
        test_own="""
        from perfguard.pictures import Bar, Lanes, Rung, Rungs

        def test_it(perfguard):
            perfguard.picture(Lanes("a pass", ("load",), (Bar(0, 0.0, 0.5, "layer 1"),)))
            perfguard.picture(Rungs("by stage", (Rung("stage0", 9.0, 8.0),)))
            perfguard.record("pass_time", [0.5, 0.7], unit="s")
            perfguard.account([(0.5, {"server/compute": 0.3, "wire": 0.1}), (0.7, {"server/compute": 0.4})])
        """
    )
    document = project.document("test_own.py")
    account = document["cases"][0]["account"]
    assert account["wall_s"] == 1.2
    assert account["calls"] == 2
    assert {phase["path"]: phase["total_s"] for phase in account["phases"]} == {"server/compute": 0.7, "wire": 0.1}
    assert account["unaccounted_s"] == pytest.approx(0.4)
    lanes, rungs = read(document["cases"][0]["extra"])
    assert lanes == Lanes("a pass", ("load",), (Bar(0, 0.0, 0.5, "layer 1"),))
    assert rungs == Rungs("by stage", (Rung("stage0", 9.0, 8.0),))
    project.run("test_own.py", perfguard=False)


def test_a_case_that_raises_is_broken_and_the_others_go_on(project: Project) -> None:
    """An exception fails its own case, status 1; the next case is measured."""
    document = project.document(status=1, CALLS="many")
    statuses = {c["id"].split("::")[1]: c["status"] for c in document["cases"]}
    assert statuses == {"test_request": "failed", "test_ratio": "passed"}
    assert metrics(document, "test_ratio")["two_over_one"]["verdict"] == "new"
    assert document["gate"]["reason"] == "tests failed"


def test_ctrl_c_keeps_what_was_measured(project: Project) -> None:
    """SIGINT in the middle: exit 2, a complete recording up to there, a document, baselines untouched."""
    project.pytester.makepyfile(
        test_suite="""
        import time
        import pathlib

        def test_first(perfguard):
            perfguard(time.sleep, 0.001)

        def test_second(perfguard):
            pathlib.Path("reached").touch()
            perfguard(time.sleep, 30)
    """
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--perfguard",
        "--perfguard-update",
        "--perfguard-record=run.pgrun",
        "--perfguard-json=run.json",
        "--perfguard-case-seconds=0.05",
        "--perfguard-live=auto",
    ]
    process = subprocess.Popen(command, cwd=project.path, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (project.path / "reached").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    document = json.loads((project.path / "run.json").read_text())
    assert document["gate"]["exit_status"] == 2
    assert metrics(document, "test_first")["time"]["n"] > 0
    replay = Replay(project.path / "run.pgrun")
    assert [e["kind"] for e in replay][-1] == "run_finished"
    assert not (project.path / "baselines").exists()


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        (["--perfguard-profile=fast"], "'fast' is no profile"),
        (["--perfguard-fail-on=slow"], "'slow' is no verdict"),
        (["--perfguard-case-seconds=0"], "--perfguard-case-seconds"),
        (["--perfguard-json=no/such/folder/run.json"], "--perfguard-json"),
        (["--perfguard-record=no/such/folder/run.pgrun"], "--perfguard-record"),
        (["--perfguard-live=tests"], "'tests' is no endpoint"),
        (["--perfguard-live=tcp://0.0.0.0:5555"], "0.0.0.0"),
    ],
)
def test_a_bad_option_is_named_and_ends_the_run_with_4(project: Project, options: list[str], culprit: str) -> None:
    """Status 4, the option and its value in the message, nothing measured."""
    assert culprit in project.run(*options, status=4)


@pytest.mark.parametrize(
    ("marker", "culprit"), [("limit='many'", "'many'"), ("budget=3", "budget"), ("budget_s=-1", "budget")]
)
def test_a_bad_marker_is_named(project: Project, marker: str, culprit: str) -> None:
    """A marker argument that makes no sense names the test and the argument."""
    project.pytester.makepyfile(
        test_suite=f"""
        import pytest

        @pytest.mark.perfguard({marker})
        def test_it(perfguard):
            perfguard(int)
    """
    )
    command = [sys.executable, "-m", "pytest", "--perfguard"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project.path, timeout=60, check=False)
    assert done.returncode != 0
    assert culprit in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr


NO_FIGURES = (
    ("perfguard.record('x', float('nan'), unit='s')", "the figure is nan"),
    ("perfguard.record('x', [1.0, float('inf')], unit='s')", "the figure is inf"),
    ("perfguard.record('x', [], unit='s')", "no samples"),
    ("perfguard.record('x', 1.0, unit='furlong')", "furlong"),
    ("perfguard.record('x', 'fast', unit='s')", "fast"),
    ("perfguard.count('x', 1.5)", "not exact"),
    ("perfguard.count('x', 1); perfguard.count('x', 2)", "recorded twice"),
    ("perfguard(int); perfguard(int)", "recorded twice"),
    ("perfguard(42)", "not its result"),
    ("perfguard.account([])", "no calls"),
    ("perfguard.account([(1.0, {'rpc': -1.0})])", "account: rpc: -1.0 is no time"),
    ("perfguard(int); perfguard.account([(1.0, {})])", "recorded twice"),
    ("perfguard.compare({'a': int})", "at least two"),
    ("from perfguard.pictures import Rungs; perfguard.picture(Rungs('empty', ()))", "picture 'empty'"),
    ("perfguard.compare({'a': int, 'b': int}, reference='c')", "'c'"),
)


def test_figures_that_are_none_fail_their_cases_with_a_reason(project: Project) -> None:
    """NaN, infinity, nothing, a wrong unit, a name used twice: each case fails and its message says what."""
    tests = (f"def test_{number}(perfguard):\n    {body}\n" for number, (body, _) in enumerate(NO_FIGURES))
    project.pytester.makepyfile(test_suite="\n".join(tests))
    parts = re.split(r"^_+ test_(\d+) _+$", project.run(status=1), flags=re.MULTILINE)
    errors = {
        int(number): re.findall("^E .*", part, re.MULTILINE)
        for number, part in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert {n for n, (_, culprit) in enumerate(NO_FIGURES) if not any(culprit in line for line in errors[n])} == set()


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        (b"schema = ", "broken.toml:1"),
        (b'schema = "perfguard.baseline/9"\nsuite = "x"\n', "schema"),
        (b"\xff\xfe", "broken.toml"),
    ],
)
def test_an_unreadable_baseline_ends_the_run_with_4(project: Project, content: bytes, culprit: str) -> None:
    """A baseline file that cannot be read is never taken for no baseline: status 4 with file and line."""
    folder = project.path / "baselines" / "portable"
    folder.mkdir(parents=True)
    (folder / "broken.toml").write_bytes(content)
    assert culprit in project.run(status=4)


def test_baselines_of_another_machine_are_not_compared_and_it_is_said(project: Project) -> None:
    """Absolute times of another machine class are left alone; portable ratios are compared all the same."""
    project.run("--perfguard-update")
    (own,) = [p for p in (project.path / "baselines").iterdir() if p.name != "portable"]
    text = (own / "test_suite.toml") if (own / "test_suite.toml").exists() else next(own.glob("*.toml"))
    other = own.with_name("other-machine-class")
    own.rename(other)
    file = other / text.name
    file.write_text(file.read_text().replace(own.name, other.name))
    output = project.run("--perfguard-json=run.json")
    assert "other-machine-class" in output
    document = json.loads((project.path / "run.json").read_text())
    assert metrics(document, "test_request")["time"]["verdict"] == "new"
    assert metrics(document, "test_ratio")["two_over_one"]["baseline"] is not None
    assert metrics(document, "test_request")["calls"]["verdict"] == "same"


def test_a_plain_pytest_start_imports_nothing_heavy(project: Project) -> None:
    """Without --perfguard no numpy, zmq, scipy, msgpack or torch is imported by the plugin."""
    project.pytester.makepyfile(
        test_suite="""
        import sys

        def test_nothing_heavy():
            assert not {"numpy", "zmq", "scipy", "msgpack", "torch", "tomlkit", "psutil"} & set(sys.modules)
    """
    )
    project.run("-p", "no:hypothesispytest", perfguard=False)
