"""Marks: every verdict and state as a glyph and a word, sparklines and bars out of Unicode blocks.

Nothing is told by colour alone. Roles (`slower`, `dim`, ...) are names; `palette` turns them into colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from perfguard.report.words import GLYPHS

STATE_GLYPHS = {"planned": "·", "running": "▶", "passed": "✓", "failed": "✗", "error": "✗", "skipped": "○"}
STATE_ROLES = {
    "planned": "dim",
    "running": "accent",
    "passed": "dim",
    "failed": "broken",
    "error": "broken",
    "skipped": "dim",
}
FEED_MARKS = {
    "waiting": ("◌ waiting", "noisy"),
    "live": ("● live", "new"),
    "lost": ("✗ lost", "broken"),
    "finished": ("■ finished", "text"),
    "replay": ("↻ replay", "accent"),
    "failed": ("✗ failed", "broken"),
}
_SPARK = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# Below this relative spread a series is drawn flat, so that harmless noise does not look like a mountain range.
_FLAT = 0.05


def verdict_mark(verdict: str) -> str:
    """The verdict as glyph and word: `▲ slower`."""
    return f"{GLYPHS[verdict]} {verdict}"


def sparkline(values: Sequence[float], width: int) -> str:
    """The latest values as blocks, one cell each, oldest first; several values share a cell if need be."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    per_cell = max(1, math.ceil(len(finite) / width))
    cells = [sum(finite[i : i + per_cell]) / len(finite[i : i + per_cell]) for i in range(0, len(finite), per_cell)]
    low, high = min(cells), max(cells)
    middle = (low + high) / 2
    reach = max(high - low, abs(middle) * _FLAT) or 1.0
    start = middle - reach / 2
    return "".join(_SPARK[min(7, max(0, int((cell - start) / reach * 8)))] for cell in cells)


def bar(fraction: float, width: int) -> str:
    """A bar of `fraction` of `width` cells, in eighths of a cell; anything above nothing shows."""
    if not math.isfinite(fraction) or fraction <= 0 or width < 1:
        return ""
    eighths = max(1, round(min(1.0, fraction) * width * 8))
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def interval_bar(start: float, end: float, width: int) -> tuple[int, str]:
    """Where on `width` cells an interval (fractions of the whole) begins, and its bar, at least one cell."""
    first = min(width - 1, max(0, int(start * width)))
    last = min(width, max(first + 1, math.ceil(end * width - 0.25)))
    if (end - start) * width < 0.5:
        return first, "▏" if start * width - first < 0.5 else "▕"
    return first, "█" * (last - first)
