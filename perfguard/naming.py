"""What a test file is called in baselines: its dotted module and its suite, whatever pytest's import mode."""

from __future__ import annotations

from pathlib import Path


def home_of(path: Path) -> tuple[str, str]:
    """The dotted module of a test file and its suite: its package, or the file's own name without `test_`.

    Packages are found by their `__init__.py`, not by the module's name, which depends on import mode and rootdir.
    """
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), parts[-2] if len(parts) > 1 else path.stem.removeprefix("test_")
