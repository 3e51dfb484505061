"""Reports that a real run writes, and the same ones made later from what it left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SUITE = """
import pathlib
import time


def test_request(perfguard):
    def request():
        with perfguard.phase("serialize"):
            time.sleep(0.0005)
        with perfguard.phase("send"):
            time.sleep(0.0005)
    perfguard(request)
    perfguard.count("calls", 3)
    for folder in map(pathlib.Path, ("goes", "goes too")):
        if folder.is_dir():
            folder.rmdir()
"""


def run(folder: Path, *command: str, status: int = 0) -> str:
    """What a process says, once its exit status was checked."""
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=folder, timeout=120, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def measure(folder: Path, *options: str, status: int = 0) -> str:
    """A measuring run of the suite."""
    quiet = ("-q", "-p", "no:cacheprovider", "--perfguard", "--perfguard-case-seconds=0.05")
    return run(folder, "pytest", *quiet, *options, status=status)


def test_a_run_writes_all_reports_but_the_one_that_cannot_be(tmp_path: Path) -> None:
    """A folder that goes away during the run costs its report; the gate's exit status stands, the others are whole."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "goes").mkdir()
    told = measure(
        tmp_path,
        "--perfguard-json=run.json",
        "--perfguard-record=run.pgrun",
        "--perfguard-report=html=run.html",
        "--perfguard-report=csv=goes/samples.csv",
        "--perfguard-report=markdown=run.md",
        "--perfguard-export=perfetto=trace.json",
        "--perfguard-export=junit=junit.xml",
    )
    assert "goes/samples.csv: cannot be written" in told
    assert "gate passes (exit 0)" in told
    assert "html: run.html" in told
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert names == {"test_suite.py", "run.json", "run.pgrun", "run.html", "run.md", "trace.json", "junit.xml"}
    trace = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"serialize", "send"} <= {event["name"] for event in trace if event["ph"] == "X"}
    page = (tmp_path / "run.html").read_text()
    assert "one call: serialize" in page
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["noise"]["readings"] == 1
    for name in ("run.json", "run.pgrun"):
        later = run(tmp_path, "perfguard.cli", "report", name, "--report", "markdown=-")
        assert later == (tmp_path / "run.md").read_text()
    run(tmp_path, "perfguard.cli", "report", "run.pgrun", "--report", "html=later.html")
    assert (tmp_path / "later.html").read_text() == page


def test_what_cannot_be_written_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    """With 4, the option named and the kinds listed; nothing was measured."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    told = measure(tmp_path, "--perfguard-report=pdf=x", "--perfguard-json=run.json", status=4)
    assert "--perfguard-report: 'pdf=x'" in told
    assert "openmetrics" in told
    assert not (tmp_path / "run.json").exists()


def test_a_run_document_that_cannot_be_written_costs_no_report(tmp_path: Path) -> None:
    """The run ends with 4, since its product is missing; the report lies on another disk, as it were."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "goes too").mkdir()
    told = measure(tmp_path, "--perfguard-json=goes too/run.json", "--perfguard-report=json=run.json", status=4)
    assert "goes too/run.json: cannot be written" in told
    assert json.loads((tmp_path / "run.json").read_text())["gate"]["exit_status"] == 0
