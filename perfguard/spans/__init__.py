"""Phases: named, nested spans of time inside a case, and the account that closes over them.

Standard library only on this path: `perfguard.phase` is called inside systems under test, in every process.
"""

from perfguard.spans.recorder import Recorder as Recorder
from perfguard.spans.recorder import Span as Span
from perfguard.spans.recorder import add_span as add_span
from perfguard.spans.recorder import add_stamps as add_stamps
from perfguard.spans.recorder import phase as phase
from perfguard.spans.recorder import recording as recording

__all__ = ["Recorder", "Span", "add_span", "add_stamps", "phase", "recording"]
