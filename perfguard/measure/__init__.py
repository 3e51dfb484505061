"""Sampling: clocks, calibration, warm-up, rounds, interleaved comparison. Knows neither pytest nor baselines.

Re-exported lazily: a duet's workers time blocks and need none of the arrays behind the intervals, and every restart
pays for what they import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfguard.lazy import lazy_exports

if TYPE_CHECKING:
    from perfguard.measure.compare import Comparison as Comparison
    from perfguard.measure.compare import compare_in_turn as compare_in_turn
    from perfguard.measure.compare import interleave as interleave
    from perfguard.measure.plan import PROFILES as PROFILES
    from perfguard.measure.plan import Plan as Plan
    from perfguard.measure.sampling import Round as Round
    from perfguard.measure.sampling import Samples as Samples
    from perfguard.measure.sampling import sample as sample

_HOMES = {
    "Comparison": "perfguard.measure.compare",
    "compare_in_turn": "perfguard.measure.compare",
    "interleave": "perfguard.measure.compare",
    "PROFILES": "perfguard.measure.plan",
    "Plan": "perfguard.measure.plan",
    "Round": "perfguard.measure.sampling",
    "Samples": "perfguard.measure.sampling",
    "sample": "perfguard.measure.sampling",
}
__all__ = ["PROFILES", "Comparison", "Plan", "Round", "Samples", "compare_in_turn", "interleave", "sample"]

__getattr__ = lazy_exports(__name__, _HOMES)
