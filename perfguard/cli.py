"""The command line: `perfguard VERB ...`, one file per verb under `perfguard.commands`.

Errors become exit statuses here and nowhere else. The statuses are pytest's: 0 fine, 1 a regression, 2
interrupted, 4 a bad option or an unreadable file. Verbs import what they need when they run, so that
`perfguard --help` answers at once.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from perfguard import __version__
from perfguard.commands import (
    baseline,
    bisect,
    ci,
    compare,
    dashboard,
    diagnose,
    doctor,
    history,
    importing,
    ladder,
    machine,
    overlap,
    report,
)
from perfguard.errors import PerfguardError

INTERRUPTED = 2
USAGE = 4
# What a shell reports for a program that SIGPIPE ended: 128 + 13.
BROKEN_PIPE = 141

EXAMPLES = """\
examples:
  pytest --perfguard --perfguard-json now.json   measure, compare with the baselines, gate
  perfguard compare before.json now.json         what changed between two runs, and in which phase
  perfguard report run.json --report html=x.html a page to read, a trace, a file for another tool
  perfguard bisect v1.2 main -- CASE             which commit made a case slower, and in which phase
  perfguard ci gate tests/perf                   in CI: a change against its merge base, with summary and comment
  perfguard baseline accept now.json             make a run part of the baselines
  perfguard history changes                      where a trend broke, over months of runs
  perfguard diagnose transport                   where the time of a transport goes, and what to do about it
  perfguard doctor --limit 5%                    how small a change this machine can tell, and what would help
  perfguard ladder --endpoint URL --model M      what a running server's clients see: tokens/s, latencies
  perfguard overlap trace.json.gz                what ran at once in a profiler's trace, and what stood idle
  perfguard dashboard                            watch a run live, or replay a recording

exit status: 0 fine; 1 something got slower; 2 interrupted; 4 a bad option or an unreadable file
"""

COMMANDS = (baseline, bisect, ci, compare, doctor, history, importing, ladder, machine, overlap, report)
# Their arguments belong to whoever provides the verb, `--help` included.
PLUGGED = {"diagnose": diagnose, "dashboard": dashboard}


class _Parser(argparse.ArgumentParser):
    """argparse with pytest's exit status for a usage error."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: error: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = _Parser(
        prog="perfguard",
        description="Performance tests that say what got slower, by how much, and which phase did it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"perfguard {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for command in COMMANDS:
        command.add_parser(verbs)
    for name, plugged in PLUGGED.items():
        verbs.add_parser(name, help=plugged.HELP, add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status. Usage errors and `--help` end in SystemExit, as with argparse."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal shows `?s` for µs instead of a traceback
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except PerfguardError as error:
        print(f"perfguard: error: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        _forget_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print("perfguard: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] in PLUGGED:
        return int(PLUGGED[arguments[0]].run(arguments[1:]))
    options = build_parser().parse_args(arguments)
    return int(options.run(options))


def _forget_stdout() -> None:
    """Whoever read our output has gone: let the interpreter's last flush go nowhere instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
