"""Fixtures that several rooms share; `tests/helpers` is on the path (see `pythonpath` in pyproject.toml)."""

import os
import signal

import pytest
from event_fixtures import live_run, runtime  # noqa: F401 - fixtures
from hypothesis import settings

# How long an example takes says how busy the machine is; CI draws the same ones each time.
settings.register_profile("perfguard", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("perfguard")

# Runs inside of tests store nothing unless the test asks for it.
os.environ["PERFGUARD_HISTORY"] = "off"

# A shell starts background jobs with SIGINT ignored, and children inherit that: Ctrl-C could not be tested there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Pytest's own, whose hundreds of pytest processes leave out the plugins that no test of ours is about."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:anyio")
    return pytester
