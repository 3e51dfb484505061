"""Statistics as pure functions: arrays in, small frozen results out; no I/O, no clock, no pytest.

Only numpy, `scipy.special` (not `scipy.stats`: it takes half a second to import) and the standard library.
"""

from perfguard.stats.change import ChangeInterval as ChangeInterval
from perfguard.stats.change import Prior as Prior
from perfguard.stats.change import change_against_runs as change_against_runs
from perfguard.stats.change import two_sample_change as two_sample_change
from perfguard.stats.quantiles import Interval as Interval
from perfguard.stats.quantiles import median_interval as median_interval
from perfguard.stats.quantiles import ratio_interval as ratio_interval

__all__ = [
    "ChangeInterval",
    "Interval",
    "Prior",
    "change_against_runs",
    "median_interval",
    "ratio_interval",
    "two_sample_change",
]
