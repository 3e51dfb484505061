"""What a ladder found: paired ratios with intervals, added costs that add up, and the terms of each loss.

All figures are over the rounds that no other process disturbed. Ratios and added costs are medians over rounds of what
was paired within a round; the terms are means over one set of rounds, so that they add up exactly. Differences of times
are given at stage 0's median speed: each round's are scaled by its stage 0, so that a machine that changes its speed
between rounds changes none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perfguard.errors import LadderError
from perfguard.ladder.model import Load, Stage, StageRun
from perfguard.ladder.terms import Terms, mean_of, profile_of, terms_between
from perfguard.stats.quantiles import Array, Interval, median_interval

NOISY_SPREAD = 0.03
FEWEST_KEPT = 3


@dataclass(frozen=True, slots=True)
class LadderRound:
    """Every stage once. `order`: as they ran; `other_cores`: cores that other processes and the hypervisor took."""

    order: tuple[str, ...]
    runs: Mapping[str, StageRun]
    other_cores: float = 0.0
    disturbed: bool = False


@dataclass(frozen=True, slots=True)
class StageTerms:
    """Seconds per token against stage 0, means over the middle half of the rounds: the loss and its three terms."""

    loss_s: float
    terms: Terms

    @property
    def residual_s(self) -> float:
        """What the terms leave of the loss: rounding, by their definition."""
        return self.loss_s - self.terms.total_s


@dataclass(frozen=True, slots=True)
class Ladder:
    """A measured ladder. Names of stages are those given; the first is stage 0."""

    stages: tuple[Stage, ...]
    load: Load
    rounds: tuple[LadderRound, ...]
    confidence: float = 0.95

    @property
    def names(self) -> list[str]:
        """The stages, bottom first."""
        return [stage.name for stage in self.stages]

    @property
    def disturbed(self) -> int:
        """Rounds in which other processes took CPU time."""
        return sum(each.disturbed for each in self.rounds)

    @property
    def kept(self) -> list[LadderRound]:
        """The rounds that count: undisturbed ones, or all where too few of those are left (then it is `noisy`)."""
        calm = [each for each in self.rounds if not each.disturbed]
        return calm if len(calm) >= min(FEWEST_KEPT, len(self.rounds)) else list(self.rounds)

    def runs(self, name: str) -> list[StageRun]:
        """A stage's runs in the rounds that count. Raises `LadderError` for an unknown name."""
        if name not in self.names:
            raise LadderError("ladder", f"no stage {name!r}", f"there are {', '.join(self.names)}")
        return [each.runs[name] for each in self.kept]

    def s_per_token(self, name: str) -> Array:
        """Wall seconds per generated token of each round, shape (rounds,)."""
        return np.array([run.wall_s / run.tokens for run in self.runs(name)])

    def tokens_per_s(self, name: str) -> Array:
        """Generated tokens per second of each round, shape (rounds,)."""
        return 1 / self.s_per_token(name)

    def over_samples(self, name: str, reference: str) -> Array:
        """Speed of one stage over another's within each round, shape (rounds,)."""
        return self.s_per_token(reference) / self.s_per_token(name)

    def over(self, name: str, reference: str) -> Interval:
        """The median of that ratio with its interval."""
        return median_interval(self.over_samples(name, reference), self.confidence)

    def over_stage0(self, name: str) -> Interval:
        """Speed over stage 0's."""
        return self.over(name, self.names[0])

    def over_previous(self, name: str) -> Interval:
        """Speed over that of the stage below; 1 for stage 0."""
        return self.over(name, self.below(name))

    def below(self, name: str) -> str:
        """The stage below, stage 0 itself for stage 0."""
        return self.names[max(0, self.names.index(name) - 1)]

    @property
    def scales(self) -> Array:
        """What times of each round are multiplied by to be at stage 0's median speed, shape (rounds,)."""
        bottom = self.s_per_token(self.names[0])
        return np.asarray(np.median(bottom) / bottom)

    def added_samples(self, name: str) -> Array:
        """Seconds per token that a stage added to the one below, of each round, at stage 0's median speed.

        For stage 0 its own time per token as it was, shape (rounds,).
        """
        own = self.s_per_token(name)
        return own if name == self.names[0] else (own - self.s_per_token(self.below(name))) * self.scales

    def added_s_per_token(self, name: str) -> Interval:
        """The median of those with its interval."""
        return median_interval(self.added_samples(name), self.confidence)

    def added_gap_samples(self, name: str) -> Array | None:
        """Time outside passes that a stage adds to the one below, over that one's time per token, shape (rounds,).

        What a component spends itself is there, and a machine's noise, which is in the passes, hardly: a loss of a
        percent shows where speeds differ by ten from run to run. None for stage 0, and where passes are not known.
        """
        runs, below = self.runs(name), self.runs(self.below(name))
        if name == self.names[0] or not all(run.forwards for run in (*runs, *below)):
            return None
        pairs = zip(runs, below, strict=True)
        return np.array([(profile_of(a).gap_s - profile_of(b).gap_s) / (b.wall_s / b.tokens) for a, b in pairs])

    def added_gap(self, name: str) -> Interval | None:
        """The median of those with its interval."""
        samples = self.added_gap_samples(name)
        return None if samples is None else median_interval(samples, self.confidence)

    @property
    def top_s_per_token(self) -> float:
        """Median seconds per token of the top stage, at stage 0's median speed."""
        return float(np.median(self.s_per_token(self.names[-1]) * self.scales))

    @property
    def unexplained_s(self) -> float:
        """Seconds per token of the top stage that stage 0's and the added costs leave over (medians do not add up)."""
        return self.top_s_per_token - sum(self.added_s_per_token(name).estimate for name in self.names)

    @property
    def unexplained_fraction(self) -> float:
        """Its size as a share of the top stage's time per token."""
        return abs(self.unexplained_s) / self.top_s_per_token

    def terms(self, name: str) -> StageTerms | None:
        """The loss against stage 0 and its terms; None where either does not know its forward passes."""
        pairs = list(zip(self.runs(name), self.runs(self.names[0]), strict=True))
        if not all(run.forwards and base.forwards for run, base in pairs):
            return None
        scales = self.scales.tolist()
        found = [
            terms_between(profile_of(run), profile_of(base)).scaled(scale)
            for (run, base), scale in zip(pairs, scales, strict=True)
        ]
        losses = [
            (run.wall_s / run.tokens - base.wall_s / base.tokens) * scale
            for (run, base), scale in zip(pairs, scales, strict=True)
        ]
        chosen = middle_half(losses)
        return StageTerms(sum(losses[i] for i in chosen) / len(chosen), mean_of([found[i] for i in chosen]))

    @property
    def spread(self) -> float:
        """The interquartile range of stage 0's speed over its median."""
        low, middle, high = np.quantile(self.tokens_per_s(self.names[0]), (0.25, 0.5, 0.75))
        return float((high - low) / middle)

    @property
    def noisy(self) -> str:
        """Why nothing here may count as a pass, empty where it may."""
        reasons = []
        if self.spread > NOISY_SPREAD:
            reasons.append(f"{self.names[0]} itself spreads by {self.spread:.1%} from round to round")
        if len(self.rounds) - self.disturbed < min(FEWEST_KEPT, len(self.rounds)):
            reasons.append(f"other processes disturbed {self.disturbed} of {len(self.rounds)} rounds")
        return ", and ".join(reasons)

    def verdict(self, name: str) -> str:
        """A stage against the one below: `slower`, `faster`, `same` (the interval holds 1), or `noisy`."""
        if self.noisy:
            return "noisy"
        interval = self.over_previous(name)
        return "slower" if interval.high < 1 else "faster" if interval.low > 1 else "same"

    def target_met(self, name: str) -> bool | None:
        """Whether a stage's speed over stage 0's reaches its target: its whole interval does; None: cannot tell."""
        target = next(stage.target for stage in self.stages if stage.name == name)
        if target is None or self.noisy:
            return None
        interval = self.over_stage0(name)
        return True if interval.low >= target else False if interval.high < target else None


def middle_half(values: Sequence[float]) -> list[int]:
    """Indices of the values between the quartiles, all of fewer than four."""
    cut = len(values) // 4
    order = sorted(range(len(values)), key=lambda i: values[i])
    return order[cut : len(values) - cut]
