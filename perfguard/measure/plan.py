"""How long and how precisely to measure: the profiles, and what a marker or an option changes in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from perfguard.errors import OptionError


@dataclass(frozen=True, slots=True)
class Plan:
    """The bounds of one case's sampling.

    `budget_s`: wall time for timed rounds; warm-up has at most `warmup_fraction` of it besides.
    Sampling ends once the median's interval is within `target` (relative half-width) after `min_rounds`,
    or the budget is spent, or at `max_rounds`. A call longer than the budget still runs `floor_rounds` times.
    Calls are grouped into blocks of at least `min_block_s`, and of a thousand clock readings in any case.
    """

    budget_s: float
    warmup_fraction: float = 0.3
    min_rounds: int = 12
    floor_rounds: int = 3
    max_rounds: int = 2000
    target: float = 0.01
    confidence: float = 0.95
    max_calls: int = 10_000_000
    min_block_s: float = 0.0

    def with_budget(self, budget_s: float | None) -> Plan:
        """The same plan with another budget; raises `OptionError` unless it is positive."""
        if budget_s is None:
            return self
        if not 0 < budget_s < 86_400:
            raise OptionError("budget", f"{budget_s} s is not a time budget", "give seconds between 0 and 86400")
        return replace(self, budget_s=budget_s)


PROFILES: Mapping[str, Plan] = {
    "quick": Plan(budget_s=1.0, min_rounds=10),
    "standard": Plan(budget_s=5.0, min_rounds=20, target=0.005),
    "full": Plan(budget_s=20.0, min_rounds=30, target=0.0025, max_rounds=20_000),
}
