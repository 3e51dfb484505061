"""Many rounds folded at once: what comes out is what one after the other would have given.

Where many rounds are of few series, each series takes its share in one piece; where each is of another, as when
thousands of cases take turns, they are taken one by one, without an event being made of each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfguard.events.rounds import Rounds
from perfguard_tui.points import Floats, limit_for
from perfguard_tui.reducers import MAX_PATHS, MAX_SERIES, RATE_STEP_NS, RunFold, Series

_FEW = 4  # rounds of a series from which on a piece costs less than each by itself
_FAR_NS = 2**62


def fold_rounds(run: RunFold, rounds: Rounds) -> None:
    """Take them all in."""
    t_s = _count(run, rounds)
    wrong = _wrong(rounds)
    if len(rounds) >= _FEW * len(rounds.series) and not _shortens(run, rounds):
        taken = _by_series(run, rounds, t_s, wrong)
    else:
        taken = _one_by_one(run, rounds, t_s, wrong)
    if taken.any():
        run.raw.append(rounds.chosen(taken))


def _count(run: RunFold, rounds: Rounds) -> Floats:
    """Count them, as `RunFold.count` does; returns the seconds from the run's first event to the latest at each."""
    t_ns, n = rounds.t_ns, len(rounds)
    if run.first_ns is None:
        run.first_ns = int(t_ns[0])
    latest_ns = np.maximum(t_ns, _near(run.last_ns))
    at = int(np.searchsorted(t_ns, _near(max(run.rate_ns, run.last_ns)), side="right"))
    while at < n:
        now_ns = int(t_ns[at])
        run.rate_ns = now_ns + RATE_STEP_NS
        run.rate.append((now_ns, run.events + at + 1))
        at = int(np.searchsorted(t_ns, _near(run.rate_ns), side="right"))
    run.events += n
    run.last_ns = max(run.last_ns, int(latest_ns[-1]))
    return np.asarray((latest_ns - _near(run.first_ns)) / 1e9)


def _near(t_ns: int) -> int:
    """Within what 64 bits can subtract: a single event may tell any time."""
    return max(-_FAR_NS, min(_FAR_NS, t_ns))


def _wrong(rounds: Rounds) -> NDArray[np.bool_]:
    """Whose phases make no sense: too many, or less than nothing together."""
    lengths = np.array([len(paths or ()) for paths in rounds.paths])
    wrong = lengths[rounds.shape] > MAX_PATHS
    if (rounds.phases < 0).any():
        for at in range(len(rounds)):
            wrong[at] = wrong[at] or sum((rounds.phases_of(at) or {}).values()) < 0
    return np.asarray(wrong)


def _shortens(run: RunFold, rounds: Rounds) -> bool:
    """Whether so many series may be new that from one of these rounds on all series must be shorter."""
    return limit_for(run.series + len(rounds.series)) < run.limit


def _by_series(run: RunFold, rounds: Rounds, t_s: Floats, wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A piece for each series, in the order in which they first come; returns which rounds were taken."""
    taken = ~(rounds.warmup | wrong)
    if len(rounds.series) == 1:
        pieces = [(0, slice(None))]
    else:
        numbers, firsts = np.unique(rounds.row, return_index=True)
        pieces = [(int(n), np.flatnonzero(rounds.row == n)) for n in numbers[np.argsort(firsts)]]
    for number, rows in pieces:
        good = taken[rows]
        series = _series_of(run, *rounds.series[number])
        if series is None:
            taken[rows] = False
            run.bad += len(good) * (rounds.series[number][0] not in run.cases)
            continue
        warmup = rounds.warmup[rows]
        series.warmup += int(warmup.sum())
        run.bad += len(good) - int(warmup.sum()) - int(good.sum())
        if good.all():
            series.extend(t_s[rows], rounds.index[rows], rounds.value[rows], run.limit)
        else:
            series.extend(t_s[rows][good], rounds.index[rows][good], rounds.value[rows][good], run.limit)
    return taken


def _one_by_one(run: RunFold, rounds: Rounds, t_s: Floats, wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each by itself; returns which rounds were taken."""
    taken = np.zeros(len(rounds), dtype=np.bool_)
    found: dict[int, Series | None] = {}
    columns = (rounds.row, t_s, rounds.index, rounds.value, rounds.warmup, wrong)
    for at, (number, *sample, warmup, is_wrong) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        if number not in found:
            found[number] = _series_of(run, *rounds.series[number])
        series = found[number]
        if series is None:
            run.bad += rounds.series[number][0] not in run.cases
        elif warmup:
            series.warmup += 1
        elif is_wrong:
            run.bad += 1
        else:
            series.add(*sample, run.limit)
            taken[at] = True
    return taken


def _series_of(run: RunFold, case_id: str, metric: str) -> Series | None:
    """The series of a round, made if it is new; None if there is no room for its case or for one more of it."""
    case = run.cases.get(case_id)
    if case is None:
        try:
            case = run.case(case_id)
        except ValueError:
            return None
    run.stale[case_id] = None
    return case.series.get(metric) or run.new_series(case, metric)
