"""Processes that store runs: `history_writer.py TARGET PROCESSES RUNS [STATEMENT]`.

PROCESSES of them, forked of this one so that they need not import everything again, open the history at the same moment
and store RUNS runs each. With STATEMENT each kills itself, with SIGKILL, right before the first SQL statement that
begins so. The exit status is how many did not end well.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Any

from baseline_runs import time_metric
from history_runs import case_of, history_run
from sqlalchemy import event

from perfguard.history import open_history

CASES = 20
FIRST = 1000


def main() -> int:
    """Fork, let go, wait."""
    target, processes, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    statement = sys.argv[4] if len(sys.argv) > 4 else ""
    gate, opener = os.pipe()
    children = []
    for index in range(processes):
        child = os.fork()
        if child == 0:
            os.close(opener)
            os.read(gate, 1)  # until the parent closes the other end
            os._exit(store(target, FIRST + index * runs, runs, statement))
        children.append(child)
    os.close(opener)
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


def store(target: str, first: int, runs: int, statement: str) -> int:
    """Store some runs; 0 if that went well."""
    try:
        with open_history(target) as history:
            if statement:
                event.listen(history.database.engine, "before_cursor_execute", _killer(statement))
                event.listen(history.database.engine, "commit", lambda _: _kill() if statement == "COMMIT" else None)
            for number in range(first, first + runs):
                history.add(history_run(number, cases=cases_of(number)))
    except Exception:  # noqa: BLE001 - told to the test, which fails
        traceback.print_exc()
        return 1
    return 0


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
    sys.exit(main())
