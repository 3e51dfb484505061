"""Paths of phases as an indented tree."""

from __future__ import annotations

from collections.abc import Container


def indented(path: str, known: Container[str]) -> str:
    """The last name indented below its parent; as much of the path as its nearest known parent leaves out."""
    parts = path.split("/")
    depth = next((cut for cut in range(len(parts) - 1, 0, -1) if "/".join(parts[:cut]) in known), 0)
    return "  " * depth + "/".join(parts[depth:])
