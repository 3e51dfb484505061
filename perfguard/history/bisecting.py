"""From a change point to the command that finds its commit."""

from __future__ import annotations

import math
import shlex

from perfguard.document import EXACT_KINDS
from perfguard.history.model import ChangePoint


def bisect_command(change: ChangePoint) -> str:
    """`perfguard bisect GOOD BAD ... -- CASE` for a change for the worse between two known commits; else "".

    The slowdown that matters is half of the one found, on the log scale: the case's own limit may be larger than all
    of it, and then the ends would count as equal.
    """
    if not change.is_worse or not change.before or not change.after or change.before == change.after:
        return ""
    words = ["perfguard", "bisect", change.before[:12], change.after[:12]]
    if change.metric != "time":
        words += ["--metric", change.metric]
    if change.kind not in EXACT_KINDS:
        words += ["--limit", _percent(half_of(change.magnitude))]
    return shlex.join([*words, "--", change.case_id])


def _percent(fraction: float) -> str:
    """Two significant digits and no exponent, which a limit may not have: 3.9% and 100%."""
    return f"{float(f'{100 * fraction:.2g}'):f}".rstrip("0").rstrip(".") + "%"


def half_of(magnitude: float) -> float:
    """Half of a change, as a fraction: 0.04 of 1.08 and of 1 / 1.08."""
    return math.exp(abs(math.log(magnitude)) / 2) - 1 if magnitude > 0 else 1.0
