"""The folder `.perfguard`, which keeps itself out of git."""

from __future__ import annotations

from pathlib import Path

IGNORED = "# perfguard's history is no part of the project.\n*\n"


def ignore(folder: Path) -> None:
    """Make `folder` with a `.gitignore` of its own; one that is there is left as it is. Raises OSError."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
