"""The ladder's self-test: a known delay put into one component after another, and which of them the ladder blames.

Stages with and without the delay run in turn, in one ladder, so that the machine's drift is in both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from perfguard.errors import LadderError
from perfguard.ladder.model import Load, Stage, StageRun
from perfguard.ladder.result import Ladder
from perfguard.ladder.rounds import measure
from perfguard.stats.quantiles import Array

TOLERANCE = 0.10
QUICK = 0.1


@dataclass(frozen=True, slots=True)
class Blame:
    """A delay put into `stage`'s component, and the seconds per token that each stage was found to add by it."""

    stage: str
    injected_s: float
    found_s: Mapping[str, float]

    @property
    def share(self) -> float:
        """How much of the delay was found where it was put."""
        return self.found_s[self.stage] / self.injected_s

    @property
    def elsewhere(self) -> float:
        """The most of it that any other stage was blamed for, as a share."""
        others = [abs(found_s) for name, found_s in self.found_s.items() if name != self.stage]
        return max(others, default=0.0) / self.injected_s

    @property
    def right(self) -> bool:
        """Within 10 % where it was put, and under 10 % anywhere else."""
        return abs(self.share - 1) <= TOLERANCE and self.elsewhere <= TOLERANCE

    def __str__(self) -> str:
        found = ", ".join(f"{name} {1e6 * found_s:+.2f}" for name, found_s in self.found_s.items())
        word = "right" if self.right else "WRONG"
        return f"{1e6 * self.injected_s:.2f} µs per token in {self.stage}: found {found} ({self.share:.1%}, {word})"


def steps_of(run: StageRun) -> int:
    """How many steps a run took: its forward passes."""
    return len(run.forwards)


def wall_s_per_token(_stage: str, run: StageRun) -> float:
    """The wall over the tokens."""
    return run.wall_s / run.tokens


def term_s_per_token(backend: str) -> Callable[[str, StageRun], float]:
    """Of a delay in a stage above `backend`, the time between passes; of one in it, that of the passes.

    On a shared machine walls differ by more than the delay from run to run, and a pass after a delay is slower too,
    since the caches are emptied meanwhile: that is dilation, and no time that the delayed component took. Of a run's
    gaps, and of its passes of each shape, the quickest tenth tells how long they are when nobody interrupts.
    """

    def found(stage: str, run: StageRun) -> float:
        passes = sorted(run.forwards, key=lambda each: each.begin_s)
        if stage != backend:
            gaps_s = [after.begin_s - before.end_s for before, after in pairwise(passes)]
            return len(passes) * _undisturbed(gaps_s) / run.tokens
        took_s: defaultdict[tuple[str, int, int], list[float]] = defaultdict(list)
        for each in passes:
            took_s[each.shape].append(each.end_s - each.begin_s)
        return sum(len(each) * _undisturbed(each) for each in took_s.values()) / run.tokens

    return found


def _undisturbed(seconds: Sequence[float]) -> float:
    return float(np.quantile(seconds, QUICK)) if seconds else 0.0


def blame(
    stages_with: Callable[[str], Sequence[Stage]],
    load: Load,
    *,
    delay_s: float = 1e-3,
    rounds: int = 8,
    steps: Callable[[StageRun], int] = steps_of,
    s_per_token: Callable[[str, StageRun], float] = wall_s_per_token,
    **options: Any,
) -> list[Blame]:
    """Where the ladder puts a delay of `delay_s` a step, for each component in turn.

    `stages_with(name)` gives all stages with that delay in the component of stage `name`, `stages_with("")` without
    any. Only stages at or above the component contain it and are run twice. `s_per_token`: what is compared of a run,
    where that stage has the delay. `options` go to `measure`.
    Raises `LadderError` where `stages_with` gives other stages than it did, or a run has no steps.
    """
    clean = list(stages_with(""))
    names = [stage.name for stage in clean]
    runners = [replace(stage, component="", target=None) for stage in clean]
    for index, name in enumerate(names):
        delayed = list(stages_with(name))
        if [stage.name for stage in delayed] != names:
            raise LadderError("self-test", f"other stages with a delay in {name}", "give the same ones, delayed")
        runners += [
            replace(stage, name=_delayed(stage.name, name), component="", target=None) for stage in delayed[index:]
        ]
    ladder = measure(runners, load, rounds=rounds, budget_s=0.0, **options)
    return [_blame(ladder, names, index, delay_s, steps, s_per_token) for index in range(len(names))]


def _blame(
    ladder: Ladder,
    names: Sequence[str],
    index: int,
    delay_s: float,
    steps: Callable[[StageRun], int],
    s_per_token: Callable[[str, StageRun], float],
) -> Blame:
    name = names[index]
    runs = ladder.runs(_delayed(name, name))
    counted = sum(steps(run) for run in runs)
    if not counted:
        raise LadderError(f"ladder: {name}", "no steps", "a delay a step cannot be found in a run that has none")
    found = dict.fromkeys(names[:index], 0.0)  # they do not contain it
    below: Array = np.zeros(len(runs))
    for each in names[index:]:
        pairs = zip(ladder.runs(_delayed(each, name)), ladder.runs(each), strict=True)
        extra = np.array([s_per_token(name, delayed) - s_per_token(name, plain) for delayed, plain in pairs])
        found[each] = float(np.median(extra - below))
        below = extra
    return Blame(name, delay_s * counted / sum(run.tokens for run in runs), found)


def _delayed(stage: str, by: str) -> str:
    return f"{stage} with a delay in {by}"
