"""`perfguard report RUN.json|RUN.pgrun --report KIND=PATH`: reports and exports of a run that is over."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HELP = "make reports and exports of a run that is over"
DESCRIPTION = """\
Read a run document (--perfguard-json) or a recording (--perfguard-record) and write reports of it; without --report,
print the terminal report. A recording also holds the course of the run in time, which traces and waterfalls need.
"""
EXAMPLES = """\
examples:
  perfguard report run.json                                    what the terminal showed
  perfguard report run.json --report markdown=-                for a pull request, to stdout
  perfguard report run.pgrun --report html=run.html --report perfetto=run.pftrace

exit status: 0 all were written; 4 a bad option, an unreadable run, or a report that failed (the others are written)
"""


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    from perfguard.report.exports import KINDS

    width = max(map(len, KINDS))
    kinds = "".join(f"  {name:<{width}}  {kind.summary}\n" for name, kind in KINDS.items())
    parser = verbs.add_parser(
        "report",
        help=HELP,
        description=DESCRIPTION,
        epilog=f"kinds:\n{kinds}\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_file", type=Path, metavar="RUN", help="a run document (.json) or a recording (.pgrun)")
    parser.add_argument(
        "--report",
        "--export",
        action="append",
        default=[],
        metavar="KIND=PATH",
        dest="reports",
        help="what to write where; `-` is stdout; may be given again",
    )
    parser.add_argument("--history", metavar="PATH|URL", help="a history: html then shows the trends of what is gated")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the reports; 0, or 4 if one failed."""
    from perfguard.errors import ReportError
    from perfguard.report.exports import STDOUT, Output, parse_outputs
    from perfguard.report.making import make_all, with_trends
    from perfguard.report.reading import read

    outputs = parse_outputs(options.reports, Path.cwd(), "--report", stdout=True)
    source = with_trends(read(options.run_file), outputs, options.history)
    _, problems = make_all(outputs or (Output("terminal", STDOUT),), source)
    for problem in problems:
        print(f"perfguard: error: {problem}", file=sys.stderr)
    return ReportError.exit_status if problems else 0
