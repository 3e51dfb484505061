"""The end of a suite's command line: a problem is one line on stderr and its exit status, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from perfguard.errors import PerfguardError

INTERRUPTED = 130


def status_of(run: Callable[[], int]) -> int:
    """The exit status of a verb."""
    try:
        return run()
    except PerfguardError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
