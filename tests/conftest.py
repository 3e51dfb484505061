"""Fixtures that several rooms share; `tests/helpers` is on the path (see `pythonpath` in pyproject.toml)."""

from event_fixtures import live_run, runtime  # noqa: F401 - fixtures
