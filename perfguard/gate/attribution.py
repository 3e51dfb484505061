"""Which phase did it: the change of each phase's time per call, as a share of the whole change."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from perfguard.document import PhaseChange

MOST = 8


def attribute(now_s: Mapping[str, float], before_s: Sequence[Mapping[str, float]]) -> tuple[PhaseChange, ...]:
    """Each phase's part in the change of a call's time, largest first, at most `MOST`.

    `now_s`: self seconds per call by phase path; `before_s`: the same of the stored process runs. Both hold
    `unaccounted`, so the parts sum to the whole change. A phase that is new or gone counts with its whole
    time. Shares are of the net change: phases that got faster have a negative one. Without any change: ().
    """
    paths = sorted({*now_s, *(path for run in before_s for path in run)})
    deltas = {path: now_s.get(path, 0.0) - statistics.median(run.get(path, 0.0) for run in before_s) for path in paths}
    total = sum(deltas.values())
    if total == 0:
        return ()
    changes = [PhaseChange(path, delta, delta / total) for path, delta in deltas.items() if delta != 0]
    changes.sort(key=lambda change: -abs(change.delta_s))
    return tuple(changes[:MOST])
