"""What a later, trusted job reads of an artifact that anybody's code may have written: bounded, checked, tamed.

Of the archive only two members are read, in memory, up to a size; nothing is unpacked and nothing is run. The report is
written anew from the figures, with names and notes made harmless, since Markdown of strangers would be posted under
this repository's name.
"""

from __future__ import annotations

import io
import json
import lzma
import math
import re
import zipfile
import zlib
from dataclasses import replace
from typing import Any

from perfguard import document
from perfguard.ci import artifact
from perfguard.ci.artifact import Outcome
from perfguard.document import Case, Metric, Run
from perfguard.errors import CiError, DocumentError

ARCHIVE_BYTES = 200_000_000
MANIFEST_BYTES = 100_000
DOCUMENT_BYTES = 64_000_000
MOST_CASES = 2000
MOST_METRICS = 200
MOST_NAME = 200
MOST_NOTE = 300
_WORDS = re.compile(r"[^\w .,:;/\[\]()=+%-]")

# What a zip file's reading raises for bytes that are none.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
)


def read_archive(data: bytes, source: str) -> tuple[Outcome, Run | None]:
    """The outcome and the run in a zip archive. Raises `CiError` or `DocumentError` naming what is wrong with it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            manifest = _member(archive, artifact.MANIFEST, MANIFEST_BYTES, source)
            told = _member(archive, artifact.DOCUMENT, DOCUMENT_BYTES, source)
    except _UNREADABLE as error:
        raise CiError(source, f"is no archive that can be read: {error}") from error
    if manifest is None:
        raise CiError(source, f"holds no {artifact.MANIFEST}", "was it written by `perfguard ci gate`?")
    outcome = _tamed_outcome(artifact.from_map(_parsed(manifest, source), source))
    if told is None or outcome.problem:
        return outcome, None
    try:
        return outcome, tamed(document.from_json(_parsed(told, source), source))
    except OverflowError as error:
        raise DocumentError(source, f"a number is too large: {error}") from error


def tamed(run: Run) -> Run:
    """The run with bounded sizes, and texts in which nothing is Markdown, HTML, an address or somebody's name."""
    return replace(
        run,
        run_id=_text(run.run_id),
        started=_text(run.started),
        finished=None if run.finished is None else _text(run.finished),
        profile=_text(run.profile),
        machine={_text(str(k)): _plain(v) for k, v in list(run.machine.items())[:50]},
        commit={_text(str(k)): _plain(v) for k, v in list(run.commit.items())[:10]},
        cases=tuple(map(_case, run.cases[:MOST_CASES])),
        gate=None
        if run.gate is None
        else replace(
            run.gate,
            slower=_names(run.gate.slower),
            noisy=_names(run.gate.noisy),
            missing=_names(run.gate.missing),
            reason=_text(run.gate.reason, MOST_NOTE),
        ),
    )


def _member(archive: zipfile.ZipFile, name: str, most_bytes: int, source: str) -> bytes | None:
    """A member's bytes, None if it is missing. What it claims of its size is not believed: reading stops by itself."""
    if name not in archive.namelist():
        return None
    with archive.open(name) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise CiError(source, f"its {name} is larger than {most_bytes:,} bytes", "it is not read")
    return data


def _parsed(data: bytes, source: str) -> Any:
    def figure(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text[:20]} is no figure")
        return number

    try:
        return json.loads(data, parse_constant=figure, parse_float=figure)
    except (ValueError, RecursionError) as error:
        raise CiError(source, f"holds something that is no JSON: {error}") from error


def _tamed_outcome(outcome: Outcome) -> Outcome:
    return replace(
        outcome,
        verdict=_text(outcome.verdict),
        head=outcome.head if re.fullmatch("[0-9a-f]{40,64}", outcome.head) else "",
        against=_text(outcome.against),
        base=_text(outcome.base),
        run_url="",
        problem="" if not outcome.problem else "The gate could not decide. The job's log says why.",
    )


def _case(case: Case) -> Case:
    account = case.account
    return replace(
        case,
        id=_text(case.id),
        key=_text(case.key),
        suite=_text(case.suite),
        params={},
        metrics=tuple(map(_metric, case.metrics[:MOST_METRICS])),
        account=account
        if account is None
        else replace(account, phases=tuple(replace(p, path=_text(p.path)) for p in account.phases[:50])),
        notes=tuple(_text(note, MOST_NOTE) for note in case.notes[:10]),
        extra={},
    )


def _metric(metric: Metric) -> Metric:
    change, baseline = metric.change, metric.baseline
    return replace(
        metric,
        name=_text(metric.name),
        unit=_text(metric.unit, 20),
        samples=metric.samples[:100],
        baseline=baseline if baseline is None else replace(baseline, source=_text(baseline.source)),
        change=change
        if change is None
        else replace(
            change,
            basis=_text(change.basis),
            phases=tuple(replace(phase, path=_text(phase.path)) for phase in change.phases[:20]),
        ),
    )


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_text(str(name)) for name in names[:MOST_CASES])


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | None) else _text(str(value))


def _text(text: str, most: int = MOST_NAME) -> str:
    """At most so many characters: letters, figures, a few marks; addresses lose their slashes, links their form."""
    plain = _WORDS.sub("·", text[:most])
    return plain.replace("](", "] (").replace("//", "/ /").replace("www.", "www ")
