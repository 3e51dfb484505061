"""Phases: named, nested spans of time inside a case, and the account that closes over them; overlap of intervals.

Standard library only on this path: `perfguard.phase` is called inside systems under test, in every process. What works
on arrays (`intervals`, `overlap`) is imported at first use.
"""

from typing import TYPE_CHECKING

from perfguard.lazy import lazy_exports
from perfguard.spans.recorder import Recorder as Recorder
from perfguard.spans.recorder import Span as Span
from perfguard.spans.recorder import add_span as add_span
from perfguard.spans.recorder import add_stamps as add_stamps
from perfguard.spans.recorder import phase as phase
from perfguard.spans.recorder import recording as recording

if TYPE_CHECKING:
    from perfguard.spans.overlapping import Overlap as Overlap
    from perfguard.spans.overlapping import OverlapBounds as OverlapBounds
    from perfguard.spans.overlapping import overlap as overlap
    from perfguard.spans.overlapping import overlap_bounds as overlap_bounds

_NUMERIC = ("Overlap", "OverlapBounds", "overlap", "overlap_bounds")
__all__ = [
    "Overlap",
    "OverlapBounds",
    "Recorder",
    "Span",
    "add_span",
    "add_stamps",
    "overlap",
    "overlap_bounds",
    "phase",
    "recording",
]

__getattr__ = lazy_exports(__name__, dict.fromkeys(_NUMERIC, "perfguard.spans.overlapping"))
