"""The terminal report as text, of any run document: what `perfguard report` prints."""

from __future__ import annotations

from collections.abc import Iterator

from perfguard.document import Run
from perfguard.report.lines import alarm_lines, case_lines, end_lines
from perfguard.report.source import Source


def report(source: Source) -> str:
    """The text of the file, for the registry of reports."""
    return render(source.run)


def render(run: Run) -> str:
    """Head, a paragraph per suite, what changed, and the gate's decision; each line ends with a newline."""
    return "".join(f"{_printable(line.rstrip())}\n" for line in _lines(run))


def _lines(run: Run) -> Iterator[str]:
    total = len(run.cases)
    yield f"perfguard: {total} cases, profile {run.profile}, machine class {run.machine.get('class', 'unknown')}"
    commit = str(run.commit.get("id", ""))[:12]
    yield f"run {run.run_id}, {run.started}" + (f", commit {commit}" if commit else "")
    if run.finished is None:
        yield "this run did not end: what follows is as far as it came"
    suite = None
    for place, case in enumerate(run.cases, 1):
        if case.suite != suite:
            suite = case.suite
            yield ""
            yield suite
        yield from (line.text for line in case_lines(case, f"{place:>3}/{total}"))
    yield ""
    yield from (line.text for line in (*alarm_lines(run), *end_lines(run)))


def _printable(line: str) -> str:
    """Names of cases may hold control characters: none of them moves a terminal's cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
