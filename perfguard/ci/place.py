"""Where a case stands in the checkout: file and line, from its node id and the file's syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

LARGEST_FILE = 2_000_000


def place_of(case_id: str, top: Path, roots: Sequence[Path]) -> tuple[str, int]:
    """The file relative to `top`, and the line from 1, of a case such as `tests/test_x.py::TestY::test_z[3]`.

    A node id is relative to pytest's rootdir, which a run document does not hold: `roots` are tried in turn. A line
    that cannot be told is 1, a file that is not found is "".
    """
    name, _, tail = case_id.partition("::")
    for root in roots:
        path = (root / name).resolve()
        if path.is_file() and path.is_relative_to(top):
            return path.relative_to(top).as_posix(), _line(path, tuple(tail.partition("[")[0].split("::")))
    return "", 1


@lru_cache(maxsize=256)
def _line(path: Path, names: tuple[str, ...]) -> int:
    try:
        if path.stat().st_size > LARGEST_FILE:
            return 1
        node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return 1
    line = 1
    for name in names:
        found = _defined(node, name)
        if found is None:
            break
        node, line = found, found.lineno
    return line


def _defined(node: ast.AST, name: str) -> ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The last definition of that name directly below a node, also behind an `if` or a `try`: the one that counts."""
    found = None
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = child if child.name == name else found
        elif isinstance(child, ast.If | ast.Try | ast.With):
            found = _defined(child, name) or found
    return found
