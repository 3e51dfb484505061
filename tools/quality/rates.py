"""Rates with their exact intervals: how often a method was wrong, or found what it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scipy.special import betaincinv


def binomial_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a rate from `hits` in `trials` (Clopper & Pearson 1934, Biometrika 26)."""
    miss = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, trials - hits + 1, miss))
    high = 1.0 if hits == trials else float(betaincinv(hits + 1, trials - hits, 1 - miss))
    return low, high


@dataclass(frozen=True)
class Rate:
    """`hits` of `trials`."""

    hits: int = 0
    trials: int = 0

    def __add__(self, other: Rate) -> Rate:
        return Rate(self.hits + other.hits, self.trials + other.trials)

    def __str__(self) -> str:
        """`3.2 % [1.1, 7.3] of 155`."""
        if not self.trials:
            return "-"
        low, high = binomial_interval(self.hits, self.trials)
        return f"{100 * self.hits / self.trials:.3g} % [{100 * low:.3g}, {100 * high:.3g}] of {self.trials}"

    def as_json(self) -> dict[str, Any] | None:
        """For docs/quality.json; None without trials."""
        if not self.trials:
            return None
        low, high = binomial_interval(self.hits, self.trials)
        return {"rate": self.hits / self.trials, "interval": [low, high], "hits": self.hits, "n": self.trials}
