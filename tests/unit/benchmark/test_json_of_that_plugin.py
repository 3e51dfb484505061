"""pytest-benchmark's JSON: written from a run document, and read as a run of the past."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfguard import cli
from perfguard.baselines import load, machine
from perfguard.benchmark import export, reading
from perfguard.benchmark.stats import FIELDS
from perfguard.document import Account, Case, Metric, Run
from perfguard.errors import BaselineError, DocumentError

TIME = Metric("time", "s", "lower", "time", True, 3, 2.0, (1.0, 3.0), 0.95, samples=(1.0, 2.0, 3.0))
CASE = Case(
    "perf/test_x.py::TestIt::test_y[a::b-1]",
    "test_x::TestIt::test_y[a::b-1]",
    "x",
    "passed",
    params={"n": 1},
    metrics=(TIME,),
    account=Account(60.0, 60.0, (), calls=30),
    extra={"group": "g", "extra_info": {"size": 4}, "options": {"timer": "perf_counter_ns"}},
)
RUN = Run(
    "id",
    "2026-01-02T03:04:05+00:00",
    "2026-01-02T03:05:05+00:00",
    "quick",
    {"class": "c", "cpu_model": "CPU", "cpus": 2},
    {"id": "abc", "dirty": True, "branch": "main", "time": "2026-01-01T00:00:00+00:00"},
    (CASE, replace(CASE, id="f.py::failed", status="failed"), replace(CASE, id="f.py::untimed", metrics=())),
)


def test_the_export_has_that_plugins_keys() -> None:
    """Every top-level key and every figure; only passed cases with a time."""
    document = json.loads(json.dumps(export.as_map(RUN, "proj"), allow_nan=False))
    assert set(document) == {"machine_info", "commit_info", "benchmarks", "datetime", "version"}
    assert document["commit_info"]["id"] == "abc"
    assert document["commit_info"]["project"] == "proj"
    assert document["machine_info"]["cpu"]["brand_raw"] == "CPU"
    (entry,) = document["benchmarks"]
    assert entry["name"] == "test_y[a::b-1]"
    assert entry["fullname"] == CASE.id
    assert (entry["param"], entry["params"], entry["group"]) == ("a::b-1", {"n": 1}, "g")
    assert (entry["extra_info"], entry["options"]) == ({"size": 4}, {"timer": "perf_counter_ns"})
    assert set(entry["stats"]) == {*FIELDS, "data", "iterations"}
    assert (entry["stats"]["data"], entry["stats"]["iterations"]) == ([1.0, 2.0, 3.0], 10)


def saved(tmp_path: Path, **changes: Any) -> Path:
    """A file as that plugin saves it, of this machine."""
    here = machine.describe()
    implementation, version = str(here["python"]).split(" ")
    document = {
        "machine_info": {
            "cpu": {"brand_raw": here["cpu_model"], "count": here["cpus"]},
            "machine": here["architecture"],
            "system": here["os"],
            "release": f"{here['kernel']}.1.2",
            "python_implementation": implementation,
            "python_version": f"{version}.9",
        },
        "commit_info": {"id": "0123456789abcdef", "dirty": False, "branch": "main"},
        "benchmarks": [{"fullname": "perf/test_x.py::test_y[1]", "stats": {"data": [1.0, 2.0, 3.0]}}],
        "datetime": "2026-01-02T03:04:05.678901+00:00",
        "version": "5.1.0",
        **changes,
    }
    path = tmp_path / f"saved_{len(list(tmp_path.iterdir()))}.json"
    path.write_text(json.dumps(document))
    return path


def test_an_export_reads_back_as_the_same_figures(tmp_path: Path) -> None:
    """Export, import: the case key, the median and the number of rounds come back."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps(export.as_map(RUN, "proj")))
    run = reading.as_run(reading.load(path), tmp_path, "some-class")
    (case,) = run.cases
    assert (case.key, case.suite) == (CASE.key, "x")
    assert (case.metrics[0].median, case.metrics[0].n) == (2.0, 3)
    assert run.machine["class"] == "some-class"


def test_import_makes_one_process_run_per_file_and_is_idempotent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two files, two process runs, in order of their dates; keyed by package below --rootdir."""
    package = tmp_path / "perf"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "test_x.py").touch()
    later = saved(tmp_path, datetime="2026-03-01T00:00:00")
    earlier = saved(tmp_path)
    folder = tmp_path / "baselines"
    arguments = ["import", "pytest-benchmark", str(later), str(earlier), f"--dir={folder}", f"--rootdir={tmp_path}"]
    assert cli.main(arguments) == 0
    assert "wrote" in capsys.readouterr().out
    here = machine.machine_class(machine.describe())
    stored = load(folder, here).metric("perf", "perf.test_x::test_y[1]", "time", "time")
    assert stored is not None
    assert [run.date for run in stored.process_runs] == ["2026-01-02T03:04:05Z", "2026-03-01T00:00:00Z"]
    assert (stored.process_runs[0].commit, stored.process_runs[0].n, stored.medians[0]) == ("0123456789", 3, 2.0)
    assert cli.main(arguments) == 0
    assert "nothing to write" in capsys.readouterr().out


def test_missing_test_files_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the files nobody knows their packages."""
    assert (
        cli.main(
            ["import", "pytest-benchmark", str(saved(tmp_path)), f"--dir={tmp_path / 'b'}", f"--rootdir={tmp_path}"]
        )
        == 0
    )
    assert "perf/test_x.py: keys are made without their packages" in capsys.readouterr().out


def test_another_machine_needs_its_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Absolute times of elsewhere never become baselines of here by accident."""
    path = saved(
        tmp_path, machine_info={"system": "Plan9", "python_implementation": "CPython", "python_version": "3.1"}
    )
    with pytest.raises(BaselineError, match="Plan9 there"):
        reading.as_run(reading.load(path), tmp_path, None)
    arguments = ["import", "pytest-benchmark", str(path), f"--dir={tmp_path / 'b'}"]
    assert cli.main(arguments) == 4
    assert "--machine-class" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    assert cli.main([*arguments, "--machine-class=plan9-box"]) == 0
    assert (tmp_path / "b" / "plan9-box" / "x.toml").is_file()


def test_without_data_the_quartiles_give_the_interval(tmp_path: Path) -> None:
    """A file saved without its rounds: median and 1.57 IQR / sqrt(n), within the extremes."""
    stats = {"min": 0.9, "max": 9.0, "median": 2.0, "q1": 1.0, "q3": 3.0, "rounds": 100}
    path = saved(tmp_path, benchmarks=[{"fullname": "t.py::t", "stats": stats}])
    (entry,) = reading.load(path).entries
    assert entry.rounds == 100
    assert (entry.interval.estimate, entry.interval.low, entry.interval.high) == pytest.approx((2.0, 1.686, 2.314))


@pytest.mark.parametrize(
    "benchmarks",
    [
        None,
        [{}],
        [{"fullname": "t.py::t"}],
        [{"fullname": "no node id", "stats": {"data": [1.0]}}],
        [{"fullname": "t.py::t", "stats": {"data": [1.0, "x"]}}],
        [{"fullname": "t.py::t", "stats": {"data": [float("nan")]}}],
        [{"fullname": "t.py::t", "stats": {"data": [-1.0]}}],
        [{"fullname": "t.py::t", "stats": {"rounds": 0}}],
        [{"fullname": "t.py::t", "stats": 3}],
        "text",
    ],
)
def test_a_file_of_another_shape_is_named(tmp_path: Path, benchmarks: Any) -> None:
    """Whatever is wrong inside: a DocumentError with the path."""
    path = saved(tmp_path, benchmarks=benchmarks)
    with pytest.raises(DocumentError) as caught:
        reading.load(path)
    assert caught.value.culprit == str(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"benchmarks": []}'])
def test_garbage_is_named(tmp_path: Path, content: bytes) -> None:
    """Not JSON, or JSON of something else."""
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=r"x\.json"):
        reading.load(path)
