"""How sure and how large a change has to be to be told, unless asked otherwise."""

from __future__ import annotations

ALPHA = 0.05  # the chance of finding any in a series without
SMALLEST = 0.01
