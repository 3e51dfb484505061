"""Whether a command that the documentation shows could be given: its verb, options, target, module or extra exist.

Nothing is run. That is how commands which take an hour, a GPU or a server are kept true all the same.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from doc_blocks import ROOT

from perfguard.benchmark.options import ALL as BENCHMARK
from perfguard.cli import build_parser
from perfguard.options import OPTIONS

FLAGS = {option.flag for option in OPTIONS} | {f"--benchmark-{name}" for name in BENCHMARK}
HARMLESS = {"cd", "cat", "git", "ls", "echo", "curl", "tar", "export", "pytest-benchmark", "asv", "duckdb"}


def problems(line: str) -> list[str]:
    """What is wrong with a command line; [] if nothing is."""
    found = []
    for part in re.split(r"&&|\|\||;|\|", re.sub(r"\s#.*", "", line)):
        words = shlex.split(part)
        while words and (re.match(r"\w+=", words[0]) or words[0] in ("do", "time")):
            words = words[1:]
        if words and words[0] not in ("for", "done"):
            found += _problems(words)
    return found


def _problems(words: Sequence[str]) -> list[str]:
    head, *arguments = words
    if head in HARMLESS:
        return []
    if head not in _KNOWN:
        return [f"{head}: is it a command of ours? if not, add it to HARMLESS"]
    return _KNOWN[head](arguments)


def _perfguard(arguments: Sequence[str]) -> list[str]:
    if arguments[:1] == ["dashboard"]:
        mine = list(arguments[1:])
        rest = mine[mine.index("--") + 1 :] if "--" in mine else []
        mine = mine[: mine.index("--")] if "--" in mine else mine
        return _parsed("perfguard_tui.__main__", mine) + (_problems(rest) if rest else [])
    if arguments[:1] == ["diagnose"]:
        return _parsed(f"perfguard_suites.{arguments[1]}.diagnose", arguments[2:])
    return _parsed("perfguard.cli", arguments)


def _parsed(module: str, arguments: Sequence[str]) -> list[str]:
    parser = build_parser() if module == "perfguard.cli" else importlib.import_module(module).build_parser()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args(list(arguments))
    except SystemExit as end:
        if end.code:
            return [said.getvalue().splitlines()[-1]]
    return []


def _pytest(arguments: Sequence[str]) -> list[str]:
    given = [word.split("=")[0] for word in arguments if word.startswith(("--perfguard", "--benchmark"))]
    paths = [word for word in arguments if word.startswith(("suites/", "tests/")) and "::" not in word]
    return [f"pytest has no {flag}" for flag in given if flag not in FLAGS] + _absent(paths)


def _make(arguments: Sequence[str]) -> list[str]:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    return [f"make has no {word}" for word in arguments if "=" not in word and word not in targets]


def _python(arguments: Sequence[str]) -> list[str]:
    if arguments[0] == "-m":
        module, rest = arguments[1], arguments[2:]
        if module in ("pytest", "perfguard.cli"):
            return _KNOWN[{"perfguard.cli": "perfguard"}.get(module, module)](rest)
        return [] if find_spec(module) else [f"no module {module}"]
    return _absent(arguments[:1])


def _pip(arguments: Sequence[str]) -> list[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = [extra for word in arguments for extra in re.findall(r"\[(.*?)\]", word)]
    extras = [name for group in wanted for name in group.split(",")]
    return [f"no extra {name}" for name in extras if not re.search(rf"^{name} = \[", text, re.MULTILINE)]


def _absent(paths: Sequence[str]) -> list[str]:
    return [f"no {path}" for path in paths if not (ROOT / path).exists()]


_KNOWN: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "perfguard": _perfguard,
    "pytest": _pytest,
    "make": _make,
    "python": _python,
    ".venv/bin/python": _python,
    "pip": _pip,
}
