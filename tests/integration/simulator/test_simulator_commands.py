"""The command line as a process: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perfguard_suites.simulator.commands import main

SMALL = ["--model", "llama-3.2-1b", "--layers", "2", "--prompt-tokens", "32"]


def simulator(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m perfguard_suites.simulator` with these arguments."""
    command = [sys.executable, "-m", "perfguard_suites.simulator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_run_prints_figures_and_writes_the_chart(tmp_path: Path) -> None:
    """Figures on stdout, the document's log on stderr, three files of the same chart."""
    files = {name: tmp_path / name for name in ("trace.json", "gantt.json", "chart.svg")}
    done = simulator(
        "run", *SMALL, "--json", "--trace", str(files["trace.json"]), "--gantt", str(files["gantt.json"]),
        "--picture", str(files["chart.svg"]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["statistics"]["phases"]["Decode"]["simulated_s"] == pytest.approx(4 * found["statistics"]["tpot_s"])
    assert set(found["wall_s"]) == {"H2D", "Prefill", "Decode", "D2H", "Gantt Build", "Stats", "Total"}
    assert "[Decode] wall time: " in done.stderr
    assert "walked 2 layers" in done.stderr
    assert len(json.loads(files["gantt.json"].read_text())["tasks"]) == found["tasks"]
    assert files["trace.json"].read_text().count('"ph":"X"') == found["tasks"]
    assert files["chart.svg"].read_text().startswith("<svg")


def test_bottleneck_measures_every_piece_of_advice(capsys: pytest.CaptureFixture[str]) -> None:
    """Parts and what they leave sum to the wall; each alternative has a gain with its interval and a change."""
    assert main(["bottleneck", *SMALL, "--rounds", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    parts_s = sum(part["self_s"] for part in found["parts"])
    assert parts_s + found["unaccounted_s"] == pytest.approx(found["wall_s"])
    names = [one["name"] for one in found["alternatives"]]
    assert names[:4] == ["precise-off", "coarse", "two-tokens", "processes-off"]
    assert all(one["gain_ci"][0] <= one["gain"] <= one["gain_ci"][1] for one in found["alternatives"])
    unchanged = {one["name"] for one in found["alternatives"] if one["ttft_change"] == 0 == one["tpot_change"]}
    assert {"processes-off", "cache-in-memory", "cache-on-disk"} <= unchanged
    assert main(["bottleneck", *SMALL, "--rounds", "2"]) == 0
    assert "the document says" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--model", "gpt-3-175b", "--prompt-tokens", "1000"], "ModelDoesNotFit: gpt-3-175b on h100"),
        (["run", "--prompt-tokens", "0"], "ConfigurationError: prompt_tokens: 0"),
        (["run", "--tensor", "3"], "LayoutError: parallelism.tensor: 3 does not divide the 56 heads"),
        (["run", "--hardware", "none"], "HardwareError"),
        (["run", *SMALL, "--quiet", "--trace", "/nowhere/trace.json"], "cannot be written"),
        (["bottleneck", *SMALL, "--rounds", "1"], "have no interval"),
    ],
)
def test_what_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    """Exit status 1 and one line that names the culprit."""
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
