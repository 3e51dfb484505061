"""pytest-benchmark's hooks, so that a conftest that implements them loads where that plugin is not installed.

The `update` hooks are called when its JSON is exported. The others have no part here: their results are its own
tables, storage and comparisons.
"""

from __future__ import annotations

from typing import Any

import pytest


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Change `machine_info` of an export in place."""


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, Any]) -> None:
    """Change `commit_info` of an export in place."""


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]) -> None:
    """Change an export in place; `benchmarks` are its entries."""


@pytest.hookspec(firstresult=True)
def pytest_benchmark_generate_machine_info(config: pytest.Config) -> Any:
    """Not called."""


@pytest.hookspec(firstresult=True)
def pytest_benchmark_generate_commit_info(config: pytest.Config) -> Any:
    """Not called."""


@pytest.hookspec(firstresult=True)
def pytest_benchmark_generate_json(
    config: pytest.Config, benchmarks: Any, include_data: bool, machine_info: Any, commit_info: Any
) -> Any:
    """Not called."""


@pytest.hookspec(firstresult=True)
def pytest_benchmark_group_stats(config: pytest.Config, benchmarks: Any, group_by: str) -> Any:
    """Not called."""


@pytest.hookspec(firstresult=True)
def pytest_benchmark_scale_unit(
    config: pytest.Config, unit: str, benchmarks: Any, best: Any, worst: Any, sort: str
) -> Any:
    """Not called."""


def pytest_benchmark_compare_machine_info(
    config: pytest.Config, benchmarksession: Any, machine_info: Any, compared_benchmark: Any
) -> None:
    """Not called."""
