"""How a step talks to GitHub's runner: commands on stdout, outputs and a summary in files that it names.

Source: GitHub documentation, "Workflow commands for GitHub Actions": escaping as in the runner's own toolkit, a summary
of at most 1 MiB a step, ten errors, warnings and notices a step each.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from perfguard.errors import CiError

SUMMARY_BYTES = 1024 * 1024
MOST_OF_A_KIND = 10

Level = Literal["error", "warning", "notice"]
# What names the files that change the job itself: none of pytest's business.
FILES = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE")


@dataclass(frozen=True, slots=True)
class Annotation:
    """A sentence at a place of the checkout; `file` "" is no place, `line` counts from 1."""

    level: Level
    title: str
    text: str
    file: str = ""
    line: int = 1


def command_line(annotation: Annotation) -> str:
    """`::error file=tests/test_x.py,line=3,title=slower%3A test_x::+9 %25` as the runner reads it."""
    where = {"file": annotation.file, "line": str(annotation.line)} if annotation.file else {}
    told = ",".join(f"{name}={_property(value)}" for name, value in {**where, "title": annotation.title}.items())
    return f"::{annotation.level} {told}::{_data(annotation.text)}"


def within_limits(annotations: Sequence[Annotation]) -> list[Annotation]:
    """The first ten of each level, in their order; the tenth tells of more where there are."""
    kept: list[Annotation] = []
    for level in ("error", "warning", "notice"):
        of_level = [each for each in annotations if each.level == level]
        if len(of_level) > MOST_OF_A_KIND:
            rest = of_level[MOST_OF_A_KIND - 1 :]
            more = "\n".join(each.title for each in rest[:50])
            of_level = [
                *of_level[: MOST_OF_A_KIND - 1],
                Annotation(rest[0].level, f"{len(rest)} more", f"{more}\nThe job's summary has all."),
            ]
        kept += of_level
    return kept


def write_outputs(path: Path, outputs: Mapping[str, str]) -> None:
    """Append outputs to the file of `GITHUB_OUTPUT`; each ends at a line that no value can hold, since it is drawn.

    Raises `CiError` naming the file if it cannot be written.
    """
    text = ""
    for name, value in outputs.items():
        end = f"end-{secrets.token_hex(16)}"
        text += f"{name}<<{end}\n{value}\n{end}\n"
    _append(path, text)


def write_summary(path: Path, text: str) -> None:
    """Append Markdown to the job summary, cut to what is still free of its limit. Raises `CiError` naming the file."""
    try:
        used = path.stat().st_size
    except OSError:
        used = 0
    _append(path, cut(text, SUMMARY_BYTES - used - 1) + "\n")


def cut(text: str, most_bytes: int, where: str = "The run document has all of it.") -> str:
    """Markdown of at most `most_bytes` in UTF-8: whole lines, what is open closed, and a word about the cut."""
    if len(text.encode()) <= most_bytes:
        return text
    last = f"\n\nCut here. {where}"
    room = most_bytes - len(last.encode())
    kept: list[str] = []
    size, fenced, opened = 0, False, 0
    closing = ""
    for line in text.split("\n"):
        fenced ^= line.startswith("```")
        opened = max(0, opened + line.count("<details") - line.count("</details>"))
        size += len(line.encode()) + 1
        then = "\n```" * fenced + "\n\n</details>" * opened
        if size + len(then) > room:
            break
        kept.append(line)
        closing = then
    return "\n".join(kept) + closing + last if kept else ""


@contextmanager
def commands_stopped(out: TextIO) -> Iterator[None]:
    """What is printed meanwhile is printed only: a test's output is no command to the runner."""
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", file=out, flush=True)
    try:
        yield
    finally:
        print(f"\n::{token}::", file=out, flush=True)


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CiError(str(path), f"cannot be written: {error}") from error


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
