"""The folder that a gate leaves behind: the run document, the recording, the reports, and what the gate made of them.

`gate.json` (`perfguard.gate/1`) is what a later job knows of this one. That job may trust it no further than the code
that was measured: `perfguard.ci.untrusted` reads it there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perfguard.errors import CiError

SCHEMA = "perfguard.gate/1"
MANIFEST, DOCUMENT, RECORDING = "gate.json", "run.json", "run.pgrun"
HTML, MARKDOWN, SUMMARY = "report.html", "report.md", "summary.md"
JUNIT, CODE_QUALITY, PATCH = "junit.xml", "code-quality.json", "baselines.patch"
FILES = (MANIFEST, DOCUMENT, RECORDING, HTML, MARKDOWN, SUMMARY, JUNIT, CODE_QUALITY, PATCH)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a gate came to. `verdict` is the worst one, or `error` where there is none; `problem` then says why.

    `base` is the commit it was compared with ("": stored baselines), `against` that in words; `head` is the commit at
    the head of pull request number `pull_request`, or the one that was measured.
    """

    verdict: str
    exit_status: int
    head: str
    against: str
    base: str = ""
    pull_request: int | None = None
    run_url: str = ""
    problem: str = ""


def prepare(folder: Path) -> None:
    """Make the folder, and take out what an earlier gate left in it. Raises `CiError` naming what is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise CiError(str(folder), f"cannot hold the results: {error}", "choose another --out") from error


def write(folder: Path, name: str, text: str) -> Path:
    """Write one file of the folder. Raises `DocumentError` naming it."""
    from perfguard.report.files import write_whole

    write_whole(folder / name, text)
    return folder / name


def as_text(outcome: Outcome) -> str:
    """The outcome as `gate.json` holds it."""
    return json.dumps({"schema": SCHEMA, **asdict(outcome)}, indent=1)


def from_map(raw: Any, source: str) -> Outcome:
    """The outcome in a parsed JSON value. Raises `CiError` naming `source` and what is wrong."""
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise CiError(source, f"is no {SCHEMA}", "was it written by `perfguard ci gate` of this version?")
    try:
        number = raw["pull_request"]
        return Outcome(
            verdict=str(raw["verdict"]),
            exit_status=int(raw["exit_status"]),
            head=str(raw["head"]),
            against=str(raw["against"]),
            base=str(raw["base"]),
            pull_request=None if number is None else int(number),
            run_url=str(raw["run_url"]),
            problem=str(raw["problem"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CiError(source, f"a part is missing or wrong: {error!r}") from error
