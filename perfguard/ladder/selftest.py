"""The ladder's self-test: a known delay put into one component after another, and which of them the ladder blames.

Stages with and without the delay run in turn, in one ladder, so that the machine's drift is in both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from perfguard.errors import LadderError
from perfguard.ladder.model import Load, Stage, StageRun
from perfguard.ladder.result import Ladder
from perfguard.ladder.rounds import measure
from perfguard.ladder.terms import profile_of
from perfguard.stats.quantiles import Array

TOLERANCE = 0.10


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


def wall_s_per_token(run: StageRun) -> float:
    """The wall over the tokens."""
    return run.wall_s / run.tokens


def typical_s_per_token(run: StageRun) -> float:
    """The same with each pass as long as the median one of its shape: one that others interrupted counts as any other.

    On a machine that is shared, a run of a tenth of a second differs from the next by half its length otherwise.
    """
    took_s: defaultdict[tuple[str, int, int], list[float]] = defaultdict(list)
    for each in run.forwards:
        took_s[each.shape].append(each.end_s - each.begin_s)
    forward_s = sum(len(found) * median(found) for found in took_s.values())
    return profile_of(run).gap_s + forward_s / run.tokens


def blame(
    stages_with: Callable[[str], Sequence[Stage]],
    load: Load,
    *,
    delay_s: float = 1e-3,
    rounds: int = 8,
    steps: Callable[[StageRun], int] = steps_of,
    s_per_token: Callable[[StageRun], float] = wall_s_per_token,
    **options: Any,
) -> list[Blame]:
    """Where the ladder puts a delay of `delay_s` a step, for each component in turn.

    `stages_with(name)` gives all stages with that delay in the component of stage `name`, `stages_with("")` without
    any. Only stages at or above the component contain it and are run twice. `s_per_token`: what is compared of a run.
    `options` go to `measure`.
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
    taken = {name: np.array([s_per_token(run) for run in ladder.runs(name)]) for name in ladder.names}
    return [_blame(ladder, names, index, delay_s, steps, taken) for index in range(len(names))]


def _blame(
    ladder: Ladder,
    names: Sequence[str],
    index: int,
    delay_s: float,
    steps: Callable[[StageRun], int],
    taken: Mapping[str, Array],
) -> Blame:
    name = names[index]
    runs = ladder.runs(_delayed(name, name))
    counted = sum(steps(run) for run in runs)
    if not counted:
        raise LadderError(f"ladder: {name}", "no steps", "a delay a step cannot be found in a run that has none")
    found = dict.fromkeys(names[:index], 0.0)  # they do not contain it
    below: Array = np.zeros(len(runs))
    for each in names[index:]:
        extra = taken[_delayed(each, name)] - taken[each]
        found[each] = float(np.median(extra - below))
        below = extra
    return Blame(name, delay_s * counted / sum(run.tokens for run in runs), found)


def _delayed(stage: str, by: str) -> str:
    return f"{stage} with a delay in {by}"
