"""A process that updates baselines, for tests that run several or kill one.

    baseline_updater.py FOLDER FIRST COUNT [DIE_AT]

stores COUNT runs, of seconds FIRST, FIRST + 1, ..., each with a time and a size, and prints a line when it begins.
With DIE_AT it sends itself SIGKILL right before its DIE_AT-th change of a file below FOLDER, as the
interpreter's audit events report them: a death at a place that a test can name.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from baseline_runs import bytes_metric, case, ratio_metric, run, time_metric

from perfguard import baselines

KEEP = 1000
_CHANGING = ("open", "os.rename", "os.remove", "os.mkdir")


def die_at(change: int, folder: str) -> None:
    """Arrange for SIGKILL before that change, counted from 1."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in _CHANGING or not str(arguments[0]).startswith(folder):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        seen += 1
        if seen == change:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main() -> None:
    """Store the runs."""
    folder, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if len(sys.argv) > 4:
        die_at(int(sys.argv[4]), folder)
    print("begun", flush=True)
    for second in range(first, first + count):
        one = case(time_metric(1 + second), bytes_metric(limit=0.1), ratio_metric(1 + second))
        baselines.update(Path(folder), run(one, second=second), keep=KEEP)


if __name__ == "__main__":
    main()
