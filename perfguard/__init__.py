"""perfguard: measure performance tests, gate regressions with a known error rate, name the phase that did it.

This door only re-exports, and lazily: `import perfguard` must cost a plain pytest run next to nothing,
so nothing here (and nothing in `perfguard.plugin`) imports numpy, zmq or torch.

PYTEST_DONT_REWRITE: a duet's worker imports this before pytest starts, which otherwise warns of that, and projects that
turn warnings into errors could not be measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfguard.lazy import lazy_exports

if TYPE_CHECKING:
    from perfguard.errors import PerfguardError as PerfguardError
    from perfguard.fixtures import Perfguard as Perfguard
    from perfguard.spans import add_span as add_span
    from perfguard.spans import add_stamps as add_stamps
    from perfguard.spans import phase as phase

__version__ = "0.1.0"

_HOMES = {
    "phase": "perfguard.spans",
    "add_span": "perfguard.spans",
    "add_stamps": "perfguard.spans",
    "Perfguard": "perfguard.fixtures",
    "PerfguardError": "perfguard.errors",
}
__all__ = ["Perfguard", "PerfguardError", "__version__", "add_span", "add_stamps", "phase"]


__getattr__ = lazy_exports(__name__, _HOMES)
