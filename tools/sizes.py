"""Print the sizes of modules and functions, and fail where one holds a second room.

A module over 600 lines or a function over 60 is split before it is merged (docs/contributing.md).
"""

import ast
import statistics
import sys
from pathlib import Path

MOST_MODULE = 600
MOST_FUNCTION = 60


def main(folders: list[str]) -> int:
    """0 if all modules and functions are within the marks, else 1."""
    modules: list[tuple[int, str]] = []
    functions: list[tuple[int, str]] = []
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        modules.append((text.count("\n"), str(path)))
        functions += [
            (node.end_lineno - node.lineno + 1, f"{path}:{node.lineno} {node.name}")
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
        ]
    for what, sizes, mark in (("module", modules, MOST_MODULE), ("function", functions, MOST_FUNCTION)):
        lines = [size for size, _ in sizes]
        print(f"{len(sizes)} {what}s: median {statistics.median(lines):.0f} lines, largest {max(lines)} (mark {mark})")
    over = [
        f"{name}: {size} lines"
        for sizes, mark in ((modules, MOST_MODULE), (functions, MOST_FUNCTION))
        for size, name in sizes
        if size > mark
    ]
    print("\n".join(over), end="\n" if over else "")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
