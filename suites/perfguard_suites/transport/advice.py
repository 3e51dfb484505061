"""Ranked advice, each line with the gain that was measured for it: nothing here is advised by belief.

Every alternative ran the same work in the same rounds as the diagnosed channel, in random order, so that a gain
is a paired difference per round and the machine's drift cancels. A gain whose interval holds zero is said to be
within noise; one that costs time is said to cost time. Pure: figures in, frozen advice out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perfguard.stats import Interval, median_interval

Effect = Literal["saves", "costs", "within noise"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to do the same work otherwise: `seconds[i]` is its total in round i; `proviso` is what it asks for."""

    name: str
    action: str
    seconds: tuple[float, ...]
    proviso: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """What one alternative would bring: `saving_s` with its interval over `rounds` paired rounds."""

    name: str
    action: str
    saving_s: Interval
    of_s: float
    rounds: int
    effect: Effect
    proviso: str = ""

    def __str__(self) -> str:
        """One line: action, effect, milliseconds with half the interval's width, and the proviso."""
        half = _ms((self.saving_s.high - self.saving_s.low) / 2)
        if self.effect == "within noise":
            figure = f"within noise ({_ms(self.saving_s.estimate)} ± {half} ms)"
        else:
            figure = f"{self.effect} {_ms(abs(self.saving_s.estimate))} ± {half} ms of {_ms(self.of_s)}"
        return f"{self.action}: {figure}" + (f" [{self.proviso}]" if self.proviso else "")


@dataclass(frozen=True, slots=True)
class PhaseShare:
    """One phase's part of the mix: seconds per pass with interval over rounds, and its share of the wall time."""

    phase: str
    seconds: Interval
    share: float


def rank(base_s: Sequence[float], alternatives: Sequence[Alternative]) -> tuple[Advice, ...]:
    """Advice on each alternative, best first; what is within noise or slower comes last.

    `base_s[i]`: seconds of the diagnosed channel in round i. Raises ValueError when an alternative has other rounds.
    """
    found = [_advise(base_s, alternative) for alternative in alternatives]
    order = {"saves": 0, "within noise": 1, "costs": 2}
    return tuple(sorted(found, key=lambda a: (order[a.effect], -a.saving_s.estimate)))


def shares(phase_s: Mapping[str, Sequence[float]], wall_s: Sequence[float]) -> tuple[PhaseShare, ...]:
    """Largest first. `phase_s[name][i]`, `wall_s[i]`: seconds of one pass of the mix in round i."""
    wall = float(np.sum(wall_s))
    found = [
        PhaseShare(name, median_interval(values), float(np.sum(values)) / wall) for name, values in phase_s.items()
    ]
    return tuple(sorted(found, key=lambda s: -s.share))


def _advise(base_s: Sequence[float], alternative: Alternative) -> Advice:
    if len(base_s) != len(alternative.seconds):
        raise ValueError(f"{alternative.name}: {len(alternative.seconds)} rounds, the base has {len(base_s)}")
    saving = median_interval(np.asarray(base_s) - np.asarray(alternative.seconds))
    effect: Effect = "saves" if saving.low > 0 else "costs" if saving.high < 0 else "within noise"
    return Advice(
        alternative.name, alternative.action, saving, float(np.median(base_s)), len(base_s), effect, alternative.proviso
    )


def _ms(seconds: float) -> str:
    ms = seconds * 1e3
    return f"{ms:.0f}" if abs(ms) >= 10 else f"{ms:.1f}"
