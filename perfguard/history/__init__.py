"""History: every run of years in one database, its trends, and the commits where a trend broke.

`open_history` is the whole way in. Nothing here is imported by a measuring run before its figures are decided; the
database libraries come with the extra `history` (SQLite) or `postgres`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfguard.history.model import ChangePoint, StoredRun, Trend, TrendPoint
from perfguard.lazy import lazy_exports

if TYPE_CHECKING:
    from perfguard.history.store import History, open_history

__all__ = ["ChangePoint", "History", "StoredRun", "Trend", "TrendPoint", "open_history"]

__getattr__ = lazy_exports(__name__, {"History": "perfguard.history.store", "open_history": "perfguard.history.store"})
