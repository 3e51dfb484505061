"""Reports made and written, one by one: one that fails fails alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from perfguard.errors import PerfguardError, ReportError
from perfguard.report.exports import KINDS, STDOUT, Output, function
from perfguard.report.files import write_whole
from perfguard.report.source import Source


def make(output: Output, source: Source) -> None:
    """Make one report and write or send it. Raises `PerfguardError` naming it and what went wrong."""
    kind = KINDS[output.kind]
    try:
        if isinstance(output.target, str) and output.target != STDOUT:
            function(kind.sender)(source, output.target)
            return
        content: str | bytes = function(kind.maker)(source)
    except PerfguardError:
        raise
    except Exception as error:
        # A report may run a project's hooks and other people's libraries; none of it may take the run along.
        raise ReportError(str(output), f"cannot be made: {error!r}") from error
    if isinstance(output.target, Path):
        write_whole(output.target, content)
    elif isinstance(content, str):
        sys.stdout.write(content)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def with_trends(source: Source, outputs: Iterable[Output], history: str | Path | None) -> Source:
    """The source with the trends of the history, if one of the outputs shows them and they can be read.

    Raises `HistoryError` if they cannot.
    """
    if history is None or not any(KINDS[output.kind].trends for output in outputs):
        return source
    from perfguard.report.trends import trends_of

    return replace(source, trends=trends_of(source.run, history))


def make_all(outputs: Iterable[Output], source: Source) -> tuple[list[Output], list[str]]:
    """Make them all; those that were written, and what to say of those that were not."""
    done: list[Output] = []
    problems: list[str] = []
    for output in outputs:
        try:
            make(output, source)
        except PerfguardError as error:
            problems.append(str(error) if isinstance(error, ReportError) else f"{output.kind}: {error}")
        else:
            done.append(output)
    return done, problems
