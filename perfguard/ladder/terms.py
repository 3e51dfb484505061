"""Where a stage's loss against stage 0 lies: serial gap, forward dilation, batch mix; exact by definition. Pure.

Of a run with wall W and T tokens, each forward pass i gets its exclusive time d_i: the time it ran, shared equally with
the passes that ran at the same moment, so that sum(d) is the union of all passes. With n(c) passes of shape
c = (kind, rows, tokens) and mean exclusive time m(c), per token:

    W / T = G + sum over c of n(c) m(c)                  G: the serial gap, time in which no pass ran

and so the difference of a stage s to stage 0 is, with no remainder,

    (G_s - G_0)                                          serial gap
    + sum of n_s(c) (m_s(c) - m_0(c))                    forward dilation, at equal batch shape
    + sum of (n_s(c) - n_0(c)) m_0(c)                    batch mix: other steps, other occupancy

Of a shape that stage 0 never ran, m_0(c) is m_s(c) divided by the dilation of the shapes of that kind (or else of any
kind) that both ran: it is taken to be dilated as they are. Its share of the forward time is told as `unmatched`. This
is the decomposition of a sum of products into a change of rates and a change of weights (Kitagawa 1955, Components of a
difference between two rates), with stage 0's rates as the standard.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from perfguard.ladder.model import Forward, StageRun

Shape = tuple[str, int, int]
# The clock readings of a run come from one clock, but passes and wall are read by different code.
CLOCK_SLACK = 1e-3


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds per token that a stage takes longer than stage 0; `unmatched`: share of forward time in other shapes."""

    gap_s: float
    dilation_s: float
    mix_s: float
    unmatched: float = 0.0

    @property
    def total_s(self) -> float:
        """The difference of the walls per token."""
        return self.gap_s + self.dilation_s + self.mix_s

    def scaled(self, factor: float) -> Terms:
        """All of them by a factor; the share stays."""
        return Terms(factor * self.gap_s, factor * self.dilation_s, factor * self.mix_s, self.unmatched)


@dataclass(frozen=True, slots=True)
class Profile:
    """One run per token: seconds without a pass, and (passes, seconds) by shape."""

    gap_s: float
    shapes: Mapping[Shape, tuple[float, float]]

    @property
    def forward_s(self) -> float:
        """Seconds per token in which a pass ran."""
        return sum(seconds for _, seconds in self.shapes.values())


def mean_of(found: Sequence[Terms]) -> Terms:
    """The mean of each term; of one at least."""
    n = len(found)
    return Terms(
        sum(each.gap_s for each in found) / n,
        sum(each.dilation_s for each in found) / n,
        sum(each.mix_s for each in found) / n,
        sum(each.unmatched for each in found) / n,
    )


def exclusive_s(forwards: Sequence[Forward]) -> list[float]:
    """Seconds of each pass, time shared by passes at once split equally among them; they sum to the union."""
    order = sorted(range(len(forwards)), key=lambda i: forwards[i].begin_s)
    if all(forwards[a].end_s <= forwards[b].begin_s for a, b in pairwise(order)):
        return [each.end_s - each.begin_s for each in forwards]
    found = [0.0] * len(forwards)
    edges = sorted((moment, i) for i, each in enumerate(forwards) for moment in (each.begin_s, each.end_s))
    active: set[int] = set()
    before_s = edges[0][0]
    for moment, i in edges:
        for j in active:
            found[j] += (moment - before_s) / len(active)
        active ^= {i}  # its first edge lets it in, its second out
        before_s = moment
    return found


def profile_of(run: StageRun) -> Profile:
    """The run's profile. Raises ValueError where passes take longer than the wall, or end before they begin."""
    if any(each.end_s < each.begin_s for each in run.forwards):
        raise ValueError("a forward pass ends before it begins")
    seconds: defaultdict[Shape, float] = defaultdict(float)
    for each, own_s in zip(run.forwards, exclusive_s(run.forwards), strict=True):
        seconds[each.shape] += own_s
    counts = Counter(each.shape for each in run.forwards)
    gap_s = run.wall_s - sum(seconds.values())
    if gap_s < -CLOCK_SLACK * run.wall_s:
        raise ValueError(f"forward passes take {run.wall_s - gap_s:.6g} s of a wall of {run.wall_s:.6g} s")
    return Profile(
        gap_s / run.tokens,
        {shape: (counts[shape] / run.tokens, own_s / run.tokens) for shape, own_s in seconds.items()},
    )


def terms_between(profile: Profile, reference: Profile) -> Terms:
    """The three terms of `profile` against `reference`, stage 0's run of the same round."""
    dilation = mix = unmatched_s = 0.0
    for shape, (count, seconds) in profile.shapes.items():
        other_count, other_s = reference.shapes.get(shape, (0.0, 0.0))
        if other_count:
            expected_s = count * other_s / other_count
        else:
            expected_s = seconds / _dilation_of(shape[0], profile, reference)
            unmatched_s += seconds
        dilation += seconds - expected_s
        mix += expected_s - other_s
    mix -= sum(seconds for shape, (_, seconds) in reference.shapes.items() if shape not in profile.shapes)
    forward_s = profile.forward_s
    return Terms(profile.gap_s - reference.gap_s, dilation, mix, unmatched_s / forward_s if forward_s else 0.0)


def _dilation_of(kind: str, profile: Profile, reference: Profile) -> float:
    """How much longer the shapes that both ran take, those of `kind` if there are any; 1 where none is shared."""
    shared = [shape for shape in profile.shapes if shape in reference.shapes]
    chosen = [shape for shape in shared if shape[0] == kind] or shared
    took_s = sum(profile.shapes[shape][1] for shape in chosen)
    expected_s = sum(
        profile.shapes[shape][0] * reference.shapes[shape][1] / reference.shapes[shape][0] for shape in chosen
    )
    return took_s / expected_s if took_s > 0 and expected_s > 0 else 1.0
