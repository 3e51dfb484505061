"""The one exception tree: each error names the culprit, says what to do, and carries the exit status it means.

`cli.main` and the plugin catch `PerfguardError` in one place each; nothing else turns errors into exit statuses.
"""

from __future__ import annotations

from typing import ClassVar


class PerfguardError(Exception):
    """Root of all errors that perfguard raises on purpose.

    `culprit` is what the user can go and look at (a file with line and key, an option, an endpoint),
    `problem` is what is wrong with it, `advice` is what to do.
    """

    exit_status: ClassVar[int] = 4

    def __init__(self, culprit: str, problem: str, advice: str = "") -> None:
        self.culprit = culprit
        self.problem = problem
        self.advice = advice
        super().__init__(f"{culprit}: {problem}" + (f" ({advice})" if advice else ""))


class OptionError(PerfguardError):
    """An option, ini key or marker argument that cannot be used."""


class BaselineError(PerfguardError):
    """A baseline file that cannot be read, understood or written; the culprit is `file:line: key`."""


class DocumentError(PerfguardError):
    """A run document (JSON) that is not one."""


class ReportError(PerfguardError):
    """A report or export that cannot be made, written or sent; it fails alone, the run stands."""


class HistoryError(PerfguardError):
    """A history that cannot be opened, read or written; the culprit is its path, or its URL without the password."""


class TraceError(PerfguardError):
    """A profiler's trace that cannot be read or makes no sense: truncated, of another format, clocks mixed."""


class EventError(PerfguardError):
    """A frame or recording that is not a perfguard event: truncated, oversized, of another version, garbage."""


class EndpointError(PerfguardError):
    """A live endpoint that cannot be bound or reached, or that is not safe to open."""


class MeasurementError(PerfguardError):
    """A figure that is none (NaN, infinite, wrong unit) or a misuse of the fixture; fails the case, not the run."""

    exit_status = 1


class LadderError(MeasurementError):
    """A ladder that says nothing: a component bypassed, a run that cannot be, a load that is none."""


class DuetError(PerfguardError):
    """The other revision cannot be checked out, imported or talked to; the culprit names the revision or worker."""


class CiError(PerfguardError):
    """CI does not give what a gate needs: a base commit, a payload that makes sense, an API that answers."""


class InterruptedRun(PerfguardError):  # noqa: N818 - an ending, not a fault
    """The run was stopped before its end."""

    exit_status = 2
