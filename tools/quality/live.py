"""Live rounds beside a noisy neighbour: every method decides on the same cases, of which some really got slower.

A round copies the workloads into two folders, `base` and `head`, and makes some of head's cases slower by 3, 5, 10 or
20 % of real work in one phase; every third round none. Then, in random order:

* a duet of head against base, `pytest --perfguard --perfguard-against-path`;
* a run of base that joins the stored baseline, and a run of head that is judged by it;
* a run of base and one of head under pytest-benchmark (perfguard switched off), whose samples the other tools' rules
  judge.

Each outcome is one line of JSON in `rounds.jsonl`, so that a stopped measurement can go on: `report.py` reads it.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from perfguard.events.replay import Replay
from perfguard.stats.pairs import combine_restarts

WORKLOADS = Path(__file__).with_name("workloads")
CASES = (
    "arithmetic",
    "dictionaries",
    "strings",
    "json",
    "sorting",
    "regex",
    "hashing",
    "compressing",
    "vectors",
    "matrices",
    "copying",
    "pipes",
)
# Per cent of the cases' work, in the twelve cases of a round with changes.
CHANGES = (0, 0, 0, 3, 3, 5, 5, 5, 10, 10, 20, 20)
PHASES = ("prepare", "work", "finish")
UNCHANGED_EVERY = 3
TIMEOUT_S = 1800
KEPT_SAMPLES = 400
Injected = Mapping[str, tuple[str, int]]


@dataclass(frozen=True)
class Bench:
    """Where the two revisions and the baselines lie, and how long a duet may take for each case.

    `folder` lies outside any git checkout: both revisions would else be parts of that one tree.
    """

    folder: Path
    baselines: Path
    seconds_per_case: float

    def lay(self, injected: Injected) -> None:
        """Both folders anew; baselines stay."""
        for name in ("base", "head"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            shutil.copytree(WORKLOADS, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "head" / "injected.json").write_text(json.dumps(injected))

    def pytest(self, side: str, *options: str) -> float:
        """Run pytest in one of the folders; seconds it took. Raises RuntimeError unless it ended with 0 or 1."""
        start_s = time.monotonic()
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, "."],
            cwd=self.folder / side,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=TIMEOUT_S,
        )
        if done.returncode not in (0, 1):
            raise RuntimeError(f"pytest {' '.join(options)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return time.monotonic() - start_s

    def duet(self) -> dict[str, Any]:
        """Head against base: verdicts, and the figure of every restart."""
        recording, document = self.folder / "duet.pgrun", self.folder / "duet.json"
        recording.unlink(missing_ok=True)
        seconds = self.pytest(
            "head",
            "--perfguard",
            "--perfguard-against-path=../base",
            f"--perfguard-seconds={self.seconds_per_case * len(CASES)}",
            f"--perfguard-json={document}",
            f"--perfguard-record={recording}",
        )
        restarts = restart_figures(recording)
        cases = verdicts(document)
        for name, figures in restarts.items():
            cases[name]["restarts"] = figures
        return {"cases": cases, "seconds": seconds}

    def stored(self) -> dict[str, Any]:
        """Base joins the baseline, head is judged by it; without verdicts while the baseline is young."""
        baselines = f"--perfguard-baselines={self.baselines}"
        before, now = self.folder / "before.json", self.folder / "now.json"
        self.pytest("base", "--perfguard", "--perfguard-update", baselines, f"--perfguard-json={before}")
        seconds = self.pytest("head", "--perfguard", baselines, f"--perfguard-json={now}")
        figures = {side: run_figures(document) for side, document in (("before", before), ("now", now))}
        return {"cases": verdicts(now), "figures": figures, "seconds": seconds}

    def samples(self, side: str) -> dict[str, Any]:
        """One process run under pytest-benchmark itself: at most `KEPT_SAMPLES` of each case, evenly spaced."""
        document = self.folder / "samples.json"
        seconds = self.pytest(side, "-p", "no:perfguard", f"--benchmark-json={document}")
        cases = {}
        for entry in json.loads(document.read_text())["benchmarks"]:
            data = entry["stats"]["data"]
            kept = data[:: max(1, math.ceil(len(data) / KEPT_SAMPLES))]
            cases[entry["params"]["kind"]] = {
                "mean": entry["stats"]["mean"],
                "min": entry["stats"]["min"],
                "data": [float(f"{value:.5g}") for value in kept],
            }
        return {"cases": cases, "seconds": seconds}


def run_figures(document: Path) -> dict[str, list[float]]:
    """Of each case: median and fastest round, and the reference kernel's fastest time, in seconds."""
    found = {}
    for case in json.loads(document.read_text())["cases"]:
        metric = next(metric for metric in case["metrics"] if metric["name"] == "time")
        found[case["params"]["kind"]] = [metric["median"], metric["fastest"], metric["reference_s"]]
    return found


def verdicts(document: Path) -> dict[str, dict[str, Any]]:
    """Of each case: the verdict on its time, the change and the phases behind it, process runs compared with."""
    found = {}
    for case in json.loads(document.read_text())["cases"]:
        time_metric = next(metric for metric in case["metrics"] if metric["name"] == "time")
        change = time_metric["change"] or {"ratio": None, "ci": None, "phases": []}
        found[case["params"]["kind"]] = {
            "verdict": time_metric["verdict"],
            "ratio": change["ratio"],
            "ci": change["ci"],
            "phases": [[phase["path"], phase["share"]] for phase in change["phases"]],
            "runs": (time_metric["baseline"] or {"process_runs": 0})["process_runs"],
            "seconds": case["duration_s"],
        }
    return found


def restart_figures(recording: Path) -> dict[str, list[tuple[float, float]]]:
    """Of each case: the log ratio of every restart, with its standard error, from the blocks in a recording."""
    blocks: dict[str, dict[int, dict[str, list[float]]]] = {}
    for event in Replay(recording):
        if event["kind"] == "round":
            case = event["case"].rpartition("[")[2].rstrip("]")
            restart = blocks.setdefault(case, {}).setdefault(event["index"] // 1000, {})
            restart.setdefault(event["metric"], []).append(event["value"])
    figures = {}
    for case, restarts in blocks.items():
        found = (combine_restarts(np.array(r["time before"]), np.array(r["time"])) for r in restarts.values())
        figures[case] = [(round(float(log_ratio), 6), round(float(se), 6)) for log_ratio, se in found]
    return figures


def changes_of(index: int, rng: random.Random) -> Injected:
    """What gets slower in round `index`: nothing in every third, else each change in as many cases as `CHANGES` has."""
    if index % UNCHANGED_EVERY == 0:
        return {}
    cases = rng.sample(CASES, len(CASES))
    return {case: (rng.choice(PHASES), units) for case, units in zip(cases, CHANGES, strict=True) if units}


def measure_round(bench: Bench, index: int, seed: int) -> list[dict[str, Any]]:
    """One round; its records."""
    rng = random.Random(seed * 1_000_003 + index)
    injected = changes_of(index, rng)
    bench.lay(injected)
    records = []
    for method in rng.sample(["duet", "stored", "base", "head"], 4):
        psutil.cpu_percent()
        found = bench.samples(method) if method in ("base", "head") else getattr(bench, method)()
        busy = psutil.cpu_percent() / 100
        records.append(
            {"round": index, "method": method, "injected": injected, "busy": busy, "at": time.time(), **found}
        )
    return records
