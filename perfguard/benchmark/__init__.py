"""The drop-in `benchmark` fixture: suites written for pytest-benchmark and pytest-codspeed, measured unchanged.

`hooks` is what every pytest start loads: it accepts that plugin's options and lets perfguard stand in for it.
`room` holds the fixtures and is registered only where they are wanted; `fixture`, `pedantic`, `wishes`, `stats`
and `weave` are behind it. `export` writes that plugin's JSON and `reading` takes such files for baselines.
"""

from __future__ import annotations

from typing import Any

MARKERS = ("benchmark", "codspeed_benchmark")


def marker_of(item: Any) -> Any:
    """The closest `benchmark` marker of a test (or its longer name), or None."""
    return next((found for name in MARKERS if (found := item.get_closest_marker(name)) is not None), None)
