"""Two processes that compute by turns on the same CPUs: a thread that has nothing to do must not spin. No torch here.

OpenMP's threads spin for milliseconds after each parallel region by default (GOMP_SPINCOUNT). With two processes on
few CPUs the one that waits then takes the CPU of the one that computes: on 2 CPUs a pass of 2 ms took 240.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

VARIABLE = "OMP_WAIT_POLICY"
PASSIVE = "PASSIVE"


def let_idle_threads_sleep() -> bool:
    """Ask OpenMP for it, unless the user chose; whether it comes in time: the library reads it once, when loaded."""
    in_time = "torch" not in sys.modules
    if in_time:
        os.environ.setdefault(VARIABLE, PASSIVE)
    return in_time or os.environ.get(VARIABLE, "").upper() == PASSIVE


def child_environment() -> Mapping[str, str]:
    """The environment of a server process."""
    return {VARIABLE: PASSIVE, **os.environ}
