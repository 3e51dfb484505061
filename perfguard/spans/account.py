"""Accounts: the wall time of a case split into its phases and what no phase claims.

An account closes: the phases' self times and `unaccounted` sum to the wall, always, so that a missing
phase shows as unaccounted time and never as a smaller total.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from perfguard.document import Account, Phase
from perfguard.spans.recorder import RoundPhases

UNACCOUNTED = "unaccounted"


@dataclass
class AccountBuilder:
    """Adds rounds up to an account. `calls` per round is how often the measured function was called."""

    wall_ns: int = 0
    calls: int = 0
    overlapping: bool = False
    _totals: dict[str, list[int]] = field(default_factory=dict)
    _per_call: dict[str, list[float]] = field(default_factory=dict)
    _unaccounted: list[float] = field(default_factory=list)

    def add(self, wall_ns: int, calls: int, phases: RoundPhases) -> dict[str, float]:
        """Count one round; returns its self seconds per call by path, `unaccounted` included."""
        self.wall_ns += wall_ns
        self.calls += calls
        self.overlapping = self.overlapping or phases.overlapping
        per_call: dict[str, float] = {}
        claimed = 0
        for path, (total, own, count) in phases.totals.items():
            row = self._totals.setdefault(path, [0, 0, 0])
            row[0] += total
            row[1] += own
            row[2] += count
            claimed += own
            per_call[path] = own / calls / 1e9
            self._per_call.setdefault(path, []).append(per_call[path])
        rest = (wall_ns - claimed) / calls / 1e9
        self._unaccounted.append(rest)
        per_call[UNACCOUNTED] = rest
        return per_call

    def build(self) -> Account:
        """The account so far. Phases in order of their self time, largest first."""
        phases = [
            Phase(path, total / 1e9, own / 1e9, count, _median(self._per_call[path], len(self._unaccounted)))
            for path, (total, own, count) in self._totals.items()
        ]
        phases.sort(key=lambda p: (-p.self_s, p.path))
        claimed_ns = sum(own for _, own, _ in self._totals.values())
        return Account(
            wall_s=self.wall_ns / 1e9,
            unaccounted_s=(self.wall_ns - claimed_ns) / 1e9,
            phases=tuple(phases),
            calls=self.calls,
            unaccounted_median_s=_median(self._unaccounted, len(self._unaccounted)),
        )


def _median(values: Sequence[float], rounds: int) -> float:
    """The median over all rounds, those in which the phase did not occur counted as zero."""
    return statistics.median([*values, *[0.0] * (rounds - len(values))]) if rounds else 0.0
