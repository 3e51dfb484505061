"""Claims about `perfguard doctor` as a process: it measures, answers, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_it_measures_and_answers_and_its_status_is_the_answer(tmp_path: Path) -> None:
    """A limit that any machine tells, and JSON with every part; no worker's folder stays."""
    done = subprocess.run(
        [sys.executable, "-m", "perfguard.cli", "doctor", "--seconds=1", "--json", "--limit=300%", "--budget=600"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert told["schema"] == "perfguard.doctor/1"
    assert told["resolves"] is True
    assert told["restarts"] >= 1
    assert told["restart_s"] > 0
    assert {each["name"] for each in told["findings"]} >= {"other load", "steal time", "turbo", "CPU quota", "swap"}
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_asked_is_status_4(tmp_path: Path) -> None:
    """A limit that is none, and no cases at all."""
    for option in ("--limit=much", "--cases=0"):
        done = subprocess.run(
            [sys.executable, "-m", "perfguard.cli", "doctor", option],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 4
        assert option.partition("=")[0] in done.stderr
