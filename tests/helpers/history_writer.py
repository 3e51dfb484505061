"""A process that stores runs: `history_writer.py TARGET FIRST COUNT [STATEMENT]`.

It says `ready`, waits for a line, opens the history and stores the runs FIRST ... FIRST + COUNT - 1. With STATEMENT it
kills itself, with SIGKILL, right before the first SQL statement that begins so.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from baseline_runs import time_metric
from history_runs import case_of, history_run
from sqlalchemy import event

from perfguard.history import open_history

CASES = 20


def main() -> None:
    """Store."""
    target, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print("ready", flush=True)
    sys.stdin.readline()
    with open_history(target) as history:
        if len(sys.argv) > 4:
            event.listen(history.database.engine, "before_cursor_execute", _killer(sys.argv[4]))
            event.listen(history.database.engine, "commit", lambda _: _kill() if sys.argv[4] == "COMMIT" else None)
        for number in range(first, first + count):
            history.add(history_run(number, cases=cases_of(number)))
    print("done", flush=True)


def cases_of(number: int) -> list[Any]:
    """Cases of which most are every run's, and one is this run's alone: writers meet over new names."""
    names = [*(f"m::test_{index}" for index in range(CASES - 1)), f"m::test_only_{number}"]
    samples = tuple(4e-4 + 1e-7 * index for index in range(30))
    return [case_of([time_metric(4e-4, samples=samples, verdict="same")], name, f"m.py::{name}") for name in names]


def _killer(statement: str) -> Any:
    def before(_connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        if text.startswith(statement):
            _kill()

    return before


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
