"""Claims about traces that torch itself records here: read whole, with every range, and lanes from its threads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perfguard import cli

pytest.importorskip("torch", reason="records with the torch profiler")
RECORDER = Path(__file__).parents[3] / "tools" / "record_trace.py"


def test_a_recorded_trace_is_read_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every range that the program entered is there, of every thread, and its lanes fit into the span."""
    path = tmp_path / "trace.json.gz"
    command = [sys.executable, str(RECORDER), str(path), "--layers", "3", "--steps", "2", "--mib", "1"]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    lanes = ["--lane", "copy=weight_load", "--lane", "compute=layer_*"]
    assert cli.main(["overlap", str(path), "--json", *lanes]) == 0
    found = json.loads(capsys.readouterr().out)
    counts = {row["name"]: row["count"] for row in found["ranges"]}
    assert counts == {
        "ProfilerStep#2": 1,
        "ProfilerStep#3": 1,
        "weight_load": 6,
        "layer_0": 2,
        "layer_1": 2,
        "layer_2": 2,
    }
    assert 0 < found["lanes"]["copy"] < found["span_s"]
    assert 0 < found["lanes"]["compute"] < found["span_s"]
    totals = {row["name"]: row["total_s"] for row in found["ranges"]}
    # One thread computes, so its ranges don't overlap each other: their union is their sum, to the nanosecond.
    assert found["lanes"]["compute"] == pytest.approx(sum(totals[f"layer_{n}"] for n in range(3)), abs=1e-9)
