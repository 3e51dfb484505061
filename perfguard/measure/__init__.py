"""Sampling: clocks, calibration, warm-up, rounds, interleaved comparison. Knows neither pytest nor baselines."""

from perfguard.measure.compare import Comparison as Comparison
from perfguard.measure.compare import compare_in_turn as compare_in_turn
from perfguard.measure.compare import interleave as interleave
from perfguard.measure.plan import PROFILES as PROFILES
from perfguard.measure.plan import Plan as Plan
from perfguard.measure.sampling import Round as Round
from perfguard.measure.sampling import Samples as Samples
from perfguard.measure.sampling import sample as sample

__all__ = ["PROFILES", "Comparison", "Plan", "Round", "Samples", "compare_in_turn", "interleave", "sample"]
