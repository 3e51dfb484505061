"""Fixtures that several rooms share; `tests/helpers` is on the path (see `pythonpath` in pyproject.toml)."""

import signal

from event_fixtures import live_run, runtime  # noqa: F401 - fixtures

# A shell starts background jobs with SIGINT ignored, and children inherit that: Ctrl-C could not be tested there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
