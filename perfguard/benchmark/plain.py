"""Whatever a test puts into `extra_info`, as plain JSON values of bounded size."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 4_000
MAX_ITEMS = 1_000
MAX_DEPTH = 6


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """`value` in None, bool, int (64 bits), finite float, str, list and dict; anything else as its text.

    Long texts and collections are cut, and what is nested deeper than `depth` becomes text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral) and -(2**63) <= int(value) < 2**63:
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral) and math.isfinite(value):
        return float(value)
    if depth > 0 and isinstance(value, Mapping):
        return {str(k)[:MAX_TEXT]: plain(v, depth - 1) for k, v in list(value.items())[:MAX_ITEMS]}
    if depth > 0 and isinstance(value, list | tuple | set | frozenset):
        return [plain(v, depth - 1) for v in list(value)[:MAX_ITEMS]]
    name = getattr(value, "__name__", None)
    return (name if isinstance(name, str) else str(value))[:MAX_TEXT]
