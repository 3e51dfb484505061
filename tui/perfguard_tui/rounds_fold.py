"""Many rounds folded at once: what comes out is what one after the other would have given.

Where many rounds are of few series, each series takes its share in one piece; where each is of another, as when
thousands of cases take turns, they are taken one by one, without an event being made of each.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from perfguard.events.rounds import MAX_ROUNDS, Rounds
from perfguard_tui.points import Floats, limit_for
from perfguard_tui.reducers import MAX_PATHS, RATE_STEP_NS, RunFold, Series

_FEW = 4  # rounds of a series from which on a piece costs less than each by itself
_FAR_NS = 2**62
_NONE = np.zeros(MAX_ROUNDS, dtype=np.bool_)

Flags: TypeAlias = NDArray[np.bool_]


def fold_rounds(run: RunFold, rounds: Rounds) -> None:
    """Take them all in."""
    t_s = _count(run, rounds)
    wrong = _wrong(rounds)
    if len(rounds) >= _FEW * len(rounds.series) and not _shortens(run, rounds):
        taken = _by_series(run, rounds, t_s, wrong)
    else:
        taken = _one_by_one(run, rounds, t_s, wrong)
    if taken is None:
        run.raw.append(rounds)
    elif taken.any():
        run.raw.append(rounds.chosen(taken))


def _count(run: RunFold, rounds: Rounds) -> Floats:
    """Count them, as `RunFold.count` does; returns the seconds from the run's first event to the latest at each."""
    t_ns, n = rounds.t_ns, len(rounds)
    begin_ns, end_ns = int(t_ns[0]), int(t_ns[-1])
    if run.first_ns is None:
        run.first_ns = begin_ns
    latest_ns = t_ns if begin_ns >= run.last_ns else np.maximum(t_ns, _near(run.last_ns))
    due_ns = max(run.rate_ns, run.last_ns)
    while end_ns > due_ns:
        at = int(np.searchsorted(t_ns, _near(due_ns), side="right"))
        now_ns = int(t_ns[at])
        run.rate.append((now_ns, run.events + at + 1))
        run.rate_ns = due_ns = now_ns + RATE_STEP_NS
    run.events += n
    run.last_ns = max(run.last_ns, end_ns)
    return (latest_ns - _near(run.first_ns)) / 1e9


def _near(t_ns: int) -> int:
    """Within what 64 bits can subtract: a single event may tell any time."""
    return max(-_FAR_NS, min(_FAR_NS, t_ns))


def _wrong(rounds: Rounds) -> Flags | None:
    """Whose phases make no sense: too many, or less than nothing together. None if all make sense."""
    longest = max(len(paths or ()) for paths in rounds.paths)
    if longest <= MAX_PATHS and not (rounds.phases < 0).any():
        return None
    phases = [rounds.phases_of(at) or {} for at in range(len(rounds))]
    return np.array([sum(one.values()) < 0 or len(one) > MAX_PATHS for one in phases])


def _shortens(run: RunFold, rounds: Rounds) -> bool:
    """Whether so many series may be new that from one of these rounds on all series must be shorter."""
    return limit_for(run.series + len(rounds.series)) < run.limit


def _by_series(run: RunFold, rounds: Rounds, t_s: Floats, wrong: Flags | None) -> Flags | None:
    """A piece for each series, in the order in which they first come; returns which rounds were taken, None for all."""
    warm = rounds.warmup.any()
    all_good = wrong is None and not warm
    taken = np.ones(len(rounds), dtype=np.bool_) if wrong is None else ~wrong
    if warm:
        taken &= ~rounds.warmup
    for number, rows in _pieces(rounds):
        series = _series_of(run, rounds, number)
        if series is None:
            run.bad += len(taken[rows]) * (rounds.series[number][0] not in run.cases)
            taken[rows] = all_good = False
        elif all_good:
            series.extend(t_s[rows], rounds.index[rows], rounds.value[rows], run.limit)
        else:
            good, warmup = taken[rows], int(rounds.warmup[rows].sum())
            series.warmup += warmup
            run.bad += len(good) - warmup - int(good.sum())
            series.extend(t_s[rows][good], rounds.index[rows][good], rounds.value[rows][good], run.limit)
    return None if all_good else taken


def _pieces(rounds: Rounds) -> list[tuple[int, slice | NDArray[np.int64]]]:
    """Each series that has rows, by its number, and which they are."""
    if len(rounds.series) == 1:
        return [(0, slice(None))]
    numbers, firsts = np.unique(rounds.row, return_index=True)
    return [(int(number), np.flatnonzero(rounds.row == number)) for number in numbers[np.argsort(firsts)]]


def _one_by_one(run: RunFold, rounds: Rounds, t_s: Floats, wrong: Flags | None) -> Flags:
    """Each by itself; returns which rounds were taken."""
    taken = np.zeros(len(rounds), dtype=np.bool_)
    found: dict[int, Series | None] = {}
    good: list[int] = []
    flags = (rounds.warmup, _NONE[: len(rounds)] if wrong is None else wrong)
    rows = zip(*(column.tolist() for column in (rounds.row, t_s, rounds.index, rounds.value, *flags)), strict=True)
    for at, (number, second, index, value, warmup, is_wrong) in enumerate(rows):
        if number not in found:
            found[number] = _series_of(run, rounds, number)
        series = found[number]
        if series is None:
            run.bad += rounds.series[number][0] not in run.cases
        elif warmup:
            series.warmup += 1
        elif is_wrong:
            run.bad += 1
        else:
            series.add(second, index, value, run.limit)
            good.append(at)
    taken[good] = True
    return taken


def _series_of(run: RunFold, rounds: Rounds, number: int) -> Series | None:
    """Series `number` of these rounds, made if it is new; None if there is no room for its case or one more of it."""
    case_id, metric = rounds.series[number]
    case = run.cases.get(case_id)
    if case is None:
        try:
            case = run.case(case_id)
        except ValueError:
            return None
    run.outdate(case_id, rounds.has_phases)
    return case.series.get(metric) or run.new_series(case, metric)
