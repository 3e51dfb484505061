"""The hooks of every pytest start: accept pytest-benchmark's options, and stand in for it where that is wanted.

With `--perfguard` the `benchmark` fixture is perfguard's, whoever else has one. Without it, another plugin's
fixture stays that plugin's business, and perfguard's own, untimed, serves only where there is none.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from typing import Any

import pytest

from perfguard.benchmark import options
from perfguard.errors import OptionError

RIVAL = "pytest_benchmark.plugin"
MARKER = (
    "benchmark(group=..., min_rounds=5, max_time=1.0, min_time=..., timer=..., warmup=...): a performance test; "
    "without the `benchmark` fixture the whole test is measured"
)
_defaults = pytest.StashKey[Mapping[str, Any]]()
_given = pytest.StashKey[dict[str, Any]]()


class BenchmarkWarning(pytest.PytestWarning):
    """Something about the drop-in `benchmark` fixture that its user should know."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> Generator[None, None, None]:
    """Once all other plugins have declared theirs: the options and hooks of pytest-benchmark, where it is absent."""
    yield
    if _rivals(early_config):
        early_config.stash[_defaults] = options.declared(parser)
        return
    from perfguard.benchmark import hookspecs

    early_config.stash[_defaults] = options.add_missing(parser)
    early_config.pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Before anything is configured: in a measuring run the other plugin rests, and its JSON is an export."""
    if not measuring(config):
        return
    for plugin in _rivals(config):
        config.pluginmanager.unregister(plugin)
    path: Any = given(config).get("json")
    if hasattr(path, "write"):  # before version 5 that plugin opened the file by itself
        path.close()
        path = path.name
    if path:
        exports = config.option.perfguard_export or config.getini("perfguard_export")
        config.option.perfguard_export = [*exports, f"pytest-benchmark={path}"]


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixtures, last of all plugins, so that they win; say which options change nothing."""
    on = measuring(config)
    if not on and _provided(config):
        return
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", "codspeed_benchmark: the same, by pytest-codspeed's longer name")
    from perfguard.benchmark import room

    config.pluginmanager.register(room, "perfguard-benchmark-room")
    if given(config) and not hasattr(config, "workerinput"):  # pytest-xdist's workers need not repeat it
        _check_options(config, on)


def _check_options(config: pytest.Config, on: bool) -> None:
    from perfguard.benchmark.wishes import Wishes

    try:
        Wishes.of("", given(config), None)
    except OptionError as error:
        raise pytest.UsageError(f"perfguard: {error}") from error
    if on and disabled(config):
        _warn(config, "--benchmark-disable: benchmarks run once and untimed (--benchmark-enable measures them)")
    if names := options.ignored(given(config), measuring=on):
        why = "perfguard has its own way for these" if on else "nothing is measured without --perfguard"
        _warn(config, f"ignored: {', '.join(names)} ({why})")


def measuring(config: pytest.Config) -> bool:
    """Whether this run measures: `--perfguard`, or a plugin that says so, as the worker of a duet does."""
    if config.getoption("perfguard", None) or config.getini("perfguard"):
        return True
    return any(getattr(plugin, "perfguard_measures", False) for plugin in config.pluginmanager.get_plugins())


def given(config: pytest.Config) -> dict[str, Any]:
    """The `--benchmark-*` options that were given, by name without the prefix."""
    if _given not in config.stash:
        defaults: Mapping[str, Any] = config.stash.get(_defaults, {})
        config.stash[_given] = options.given(config.option, defaults)
    return config.stash[_given]


def disabled(config: pytest.Config) -> bool:
    """Whether benchmarks are to run once and untimed, even in a measuring run."""
    return bool(given(config).get("disable")) and not given(config).get("enable")


def _rivals(config: pytest.Config) -> list[Any]:
    """pytest-benchmark itself, if it is loaded."""
    return [plugin for plugin in config.pluginmanager.get_plugins() if getattr(plugin, "__name__", "") == RIVAL]


def _provided(config: pytest.Config) -> bool:
    """Whether another plugin has a `benchmark` fixture."""
    return any("benchmark" in getattr(plugin, "__dict__", {}) for plugin in config.pluginmanager.get_plugins())


def _warn(config: pytest.Config, text: str) -> None:
    """A line in the warnings summary, also where the project makes errors of warnings: this one is not its doing."""
    message = warnings.WarningMessage(BenchmarkWarning(f"perfguard: {text}"), BenchmarkWarning, "perfguard", 0)
    config.hook.pytest_warning_recorded.call_historic(
        kwargs={"warning_message": message, "nodeid": "", "when": "config", "location": None}
    )
