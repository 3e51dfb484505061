"""What the gate forgives: limits, error rates and which verdicts fail a run; as given by options and markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfguard.errors import OptionError

FAILABLE = ("slower", "noisy", "missing")
NOTHING = "none"  # a gate that only reports
DEFAULT_LIMIT = 0.10


@dataclass(frozen=True, slots=True)
class Policy:
    """`alpha` bounds the chance that a run without any change raises an alarm, over all its metrics together.

    `fail_on` holds the verdicts that fail the gate; `strict` adds metrics without a baseline.
    """

    alpha: float = 0.01
    fail_on: tuple[str, ...] = ("slower",)
    strict: bool = False


def parse_fail_on(text: str) -> tuple[str, ...]:
    """`"slower,noisy"` as a tuple, `"none"` as (). Raises `OptionError` on a word that is no verdict of these."""
    if text.strip() == NOTHING:
        return ()
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words:
        if word not in FAILABLE:
            raise OptionError(
                "--perfguard-fail-on",
                f"{word!r} is no verdict that can fail a gate",
                f"choose from {', '.join(FAILABLE)}, or {NOTHING}",
            )
    return words


def per_test_alpha(policy: Policy, tests: int) -> float:
    """The two-sided error of each of `tests` intervals, so that all false alarms together stay under `alpha`.

    Bonferroni; only the slower end of an interval can raise an alarm, so each end may err with `alpha / tests`.
    """
    return 2 * policy.alpha / max(1, tests)


def words(items: Sequence[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
