"""Which tests are performance cases, what they are called, and how their running went: pytest's words made ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfguard.benchmark import marker_of
from perfguard.naming import home_of

if TYPE_CHECKING:
    from perfguard.session import PlannedCase

MARKER_KEYS = frozenset({"limit", "budget_s", "group", "device"})


def is_case(item: pytest.Item) -> bool:
    """Whether a test is a performance case: it uses a measuring fixture, or carries a marker."""
    marked = item.get_closest_marker("perfguard") is not None or marker_of(item) is not None
    return marked or not {"perfguard", "benchmark"}.isdisjoint(getattr(item, "fixturenames", ()))


def keep_cases(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only performance cases in `items`; everything else is deselected."""
    others = [item for item in items if not is_case(item)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if is_case(item)]


def planned(item: pytest.Item) -> PlannedCase:
    """A test as a planned case. Raises `pytest.UsageError` for a marker that makes no sense."""
    from perfguard.session import PlannedCase

    marker: dict[str, Any] = {}
    for found in reversed(list(item.iter_markers("perfguard"))):  # the closest marker wins
        if found.args or not set(found.kwargs) <= MARKER_KEYS:
            wrong = sorted(set(found.kwargs) - MARKER_KEYS) or list(found.args)
            raise pytest.UsageError(
                f"perfguard: {item.nodeid}: the perfguard marker does not know {wrong} "
                f"(it takes {', '.join(sorted(MARKER_KEYS))})"
            )
        marker |= found.kwargs
    module, suite = home_of(Path(item.path))
    tail = item.nodeid.split("::", 1)[-1]
    callspec = getattr(item, "callspec", None)
    params = {} if callspec is None else {name: _plain(value) for name, value in callspec.params.items()}
    return PlannedCase(item.nodeid, f"{module}::{tail}", str(marker.get("group", suite)), params, marker)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else getattr(value, "__name__", str(value))[:200]


def outcome(reports: list[pytest.TestReport]) -> tuple[Any, str]:
    """The case's status, and why if it did not pass."""
    for report in reports:
        if report.failed:
            status = "failed" if report.when == "call" else "error"
            crash = getattr(report.longrepr, "reprcrash", None)
            return status, str(getattr(crash, "message", report.longrepr))
    for report in reports:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            return "skipped", reason
    return ("passed", "") if reports else ("error", "did not run")
