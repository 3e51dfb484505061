"""The kinds of reports and exports as data, and `KIND=PATH` as a user writes it.

A new kind is one line of `KINDS`; its module is imported when it is used. `--perfguard-report` and
`--perfguard-export` both look kinds up here, and so does `perfguard report`.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfguard.errors import OptionError

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: what it is, and the `module:function` that makes it.

    `maker` takes a `perfguard.report.source.Source` and gives the file as text or bytes. `needs` are the modules beyond
    perfguard's own dependencies, which the extra `extra` brings. With `sender`, PATH may be an http(s) address:
    it takes the source and the address. `trends`: whether it shows those of the history.
    """

    summary: str
    maker: str
    needs: tuple[str, ...] = ()
    extra: str = ""
    sender: str = ""
    trends: bool = False


REPORTS: Mapping[str, Kind] = {
    "terminal": Kind("what the terminal shows at the end, as text", "perfguard.report.text:report"),
    "markdown": Kind("for a pull request or a job summary", "perfguard.report.markdown:report"),
    "html": Kind("one page that needs nothing else, for a browser", "perfguard.report.html:report", trends=True),
    "json": Kind("the run document, as --perfguard-json writes it", "perfguard.report.rundocument:report"),
    "junit": Kind("JUnit XML, for a CI server's test results", "perfguard.report.junit:report"),
}
EXPORTS: Mapping[str, Kind] = {
    "csv": Kind("every sample as a row", "perfguard.report.samples:csv_report"),
    "parquet": Kind("the same as columns", "perfguard.report.samples:parquet_report", ("pyarrow",), "parquet"),
    "perfetto": Kind("a trace for ui.perfetto.dev: cases, stages, phases", "perfguard.report.perfetto:report"),
    "pytest-benchmark": Kind("pytest-benchmark's JSON", "perfguard.benchmark.export:report"),
    "bencher": Kind("Bencher Metric Format", "perfguard.report.trackers:bencher"),
    "github-action-benchmark": Kind("its customSmallerIsBetter", "perfguard.report.trackers:action_smaller"),
    "github-action-benchmark-bigger": Kind("its customBiggerIsBetter", "perfguard.report.trackers:action_bigger"),
    "openmetrics": Kind("OpenMetrics text, for Prometheus", "perfguard.report.openmetrics:report"),
    "otlp": Kind(
        "OpenTelemetry spans and metrics: OTLP JSON lines, or sent to PATH=http://...",
        "perfguard.report.otlp:report",
        ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
        "otlp",
        "perfguard.report.otlp:send",
    ),
}
KINDS: Mapping[str, Kind] = {**REPORTS, **EXPORTS}


@dataclass(frozen=True, slots=True)
class Output:
    """One report that was asked for: its kind, and an absolute path, an http(s) address or `-` for stdout."""

    kind: str
    target: Path | str

    def __str__(self) -> str:
        return f"{self.kind}={self.target}"


def function(name: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found


def parse_output(text: str, cwd: Path, option: str, *, stdout: bool = False) -> Output:
    """`KIND=PATH` checked as far as it can be before anything ran; a relative path is below `cwd`.

    Raises `OptionError` naming `option`: an unknown kind, no path, a folder that cannot be written to, an address for a
    kind that is a file, a library that is missing. `stdout`: whether `-` may be the path.
    """
    kind, _, name = text.partition("=")
    if kind not in KINDS or not name:
        raise OptionError(option, f"{text!r} is none", f"write KIND=PATH, KIND one of {', '.join(KINDS)}")
    entry = KINDS[kind]
    absent = [module for module in entry.needs if not _installed(module)]
    if absent:
        raise OptionError(option, f"{kind} needs {', '.join(absent)}", f"pip install 'perfguard[{entry.extra}]'")
    if name.startswith(("http://", "https://")):
        if not entry.sender:
            raise OptionError(option, f"{kind} is a file, not sent to {name}", "name a file")
        return Output(kind, name)
    if name == STDOUT:
        if not stdout:
            raise OptionError(option, f"{text!r}: pytest writes to stdout", f"`perfguard report` takes {text}")
        return Output(kind, STDOUT)
    return Output(kind, writable(name, cwd, option))


def parse_outputs(texts: Iterable[str], cwd: Path, option: str, *, stdout: bool = False) -> tuple[Output, ...]:
    """Several of them. Raises `OptionError`, also where two would be the same file."""
    outputs = tuple(parse_output(text, cwd, option, stdout=stdout) for text in texts)
    check_apart(outputs, option)
    return outputs


def check_apart(outputs: Iterable[Output], option: str, *others: Path | None) -> None:
    """Raises `OptionError` where two outputs, or one and a path of `others`, are the same file."""
    taken = {path for path in others if path is not None}
    for output in outputs:
        if output.target in taken:
            raise OptionError(option, f"{output.target} is written twice", "give each report a file of its own")
        if isinstance(output.target, Path):
            taken.add(output.target)


def writable(name: str, cwd: Path, option: str) -> Path:
    """A file that can be written later. Raises `OptionError` naming the option."""
    from perfguard.options import output_path

    path = output_path(name, cwd, option)
    assert path is not None
    try:
        if not path.exists() or path.is_file():  # written to a temporary file first, then renamed
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as error:
        raise OptionError(option, f"{path.parent} cannot be written to: {error.strerror}", "choose another") from error
    return path


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # a parent package is missing
        return False
