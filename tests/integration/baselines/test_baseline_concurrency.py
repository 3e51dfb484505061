"""Several processes update one folder at once: nothing is lost, nothing is left over."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from baseline_runs import CLASS, KEY, SUITE

from perfguard import baselines

UPDATER = Path(__file__).parents[2] / "helpers" / "baseline_updater.py"
PROCESSES, RUNS_EACH = 4, 6
TIMEOUT_S = 60


def test_updates_at_once_are_all_there_afterwards(tmp_path: Path) -> None:
    """Four processes with six runs each, started together: 24 process runs of each metric, once each."""
    folder = tmp_path / "baselines"
    with contextlib.ExitStack() as stack:
        updaters = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(UPDATER), str(folder), str(first), str(RUNS_EACH)],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for first in range(0, PROCESSES * RUNS_EACH, RUNS_EACH)
        ]
        problems = [updater.communicate(timeout=TIMEOUT_S)[1] for updater in updaters]
    assert problems == [""] * PROCESSES
    stored = baselines.load(folder, CLASS)
    seconds = list(range(PROCESSES * RUNS_EACH))
    for name, kind in (("time", "time"), ("over_memcpy", "ratio")):
        found = stored.metric(SUITE, KEY, name, kind)
        assert found is not None
        assert sorted(found.medians) == [1 + second for second in seconds]
    sizes = stored.metric(SUITE, KEY, "sent", "bytes")
    assert sizes is not None
    assert len(sizes.process_runs) == len(seconds)
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert left == [f"portable/{SUITE}.toml", f"{CLASS}/{SUITE}.toml"]
