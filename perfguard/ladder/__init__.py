"""The ladder: a serving stack measured one component at a time, with losses that add up. Knows no torch, no pytest.

A stage is the stack up to one component, as a function from a `Load` to a `StageRun`. `measure` runs all stages in
turn, in random order, and compares them within each round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfguard.lazy import lazy_exports

if TYPE_CHECKING:
    from perfguard.ladder.case import measure_for as measure_for
    from perfguard.ladder.case import profile_of as profile_of
    from perfguard.ladder.case import record_ladder as record_ladder
    from perfguard.ladder.case import record_stage as record_stage
    from perfguard.ladder.client import run_load as run_load
    from perfguard.ladder.endpoint import Endpoint as Endpoint
    from perfguard.ladder.endpoint import parse_endpoint as parse_endpoint
    from perfguard.ladder.latency import Limits as Limits
    from perfguard.ladder.model import Forward as Forward
    from perfguard.ladder.model import Load as Load
    from perfguard.ladder.model import RequestTimes as RequestTimes
    from perfguard.ladder.model import Stage as Stage
    from perfguard.ladder.model import StageRun as StageRun
    from perfguard.ladder.model import stage as stage
    from perfguard.ladder.recording import Recording as Recording
    from perfguard.ladder.result import Ladder as Ladder
    from perfguard.ladder.rounds import measure as measure
    from perfguard.ladder.selftest import Blame as Blame
    from perfguard.ladder.selftest import blame as blame
    from perfguard.ladder.served import endpoint_stage as endpoint_stage

_HOMES = {
    "record_stage": "perfguard.ladder.case",
    "record_ladder": "perfguard.ladder.case",
    "profile_of": "perfguard.ladder.case",
    "measure_for": "perfguard.ladder.case",
    "Blame": "perfguard.ladder.selftest",
    "blame": "perfguard.ladder.selftest",
    "Endpoint": "perfguard.ladder.endpoint",
    "Limits": "perfguard.ladder.latency",
    "Recording": "perfguard.ladder.recording",
    "endpoint_stage": "perfguard.ladder.served",
    "parse_endpoint": "perfguard.ladder.endpoint",
    "run_load": "perfguard.ladder.client",
    "Forward": "perfguard.ladder.model",
    "Load": "perfguard.ladder.model",
    "RequestTimes": "perfguard.ladder.model",
    "Stage": "perfguard.ladder.model",
    "StageRun": "perfguard.ladder.model",
    "stage": "perfguard.ladder.model",
    "Ladder": "perfguard.ladder.result",
    "measure": "perfguard.ladder.rounds",
}
__all__ = [
    "Blame",
    "Endpoint",
    "Forward",
    "Ladder",
    "Limits",
    "Load",
    "Recording",
    "RequestTimes",
    "Stage",
    "StageRun",
    "blame",
    "endpoint_stage",
    "measure",
    "measure_for",
    "parse_endpoint",
    "profile_of",
    "record_ladder",
    "record_stage",
    "run_load",
    "stage",
]

__getattr__ = lazy_exports(__name__, _HOMES)
