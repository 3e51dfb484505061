"""Goals beside figures: a suite says what it should reach, and each run says whether it did."""

from __future__ import annotations

from perfguard import Perfguard
from perfguard.units import format_value


def note_goal(
    perfguard: Perfguard,
    name: str,
    figure: float,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    unit: str = "",
    remark: str = "",
) -> bool:
    """Note in the report whether `figure` is within its goal; returns that.

    A goal is no gate: the gate compares with the baseline, the goal with what the design should reach.
    """
    bound = at_most if at_most is not None else at_least
    if bound is None:
        raise ValueError("a goal needs at_most or at_least")
    met = figure <= bound if at_most is not None else figure >= bound
    words = "at most" if at_most is not None else "at least"
    if perfguard.enabled:
        perfguard.note(
            f"goal {'met' if met else 'MISSED'}: {name} {format_value(figure, unit)}, "
            f"{words} {format_value(bound, unit)}{f' ({remark})' if remark else ''}"
        )
    return met
