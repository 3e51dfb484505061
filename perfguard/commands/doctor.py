"""`perfguard doctor`: whether this machine can tell a change of the size asked for, and what would help it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from perfguard.errors import OptionError

HELP = "say how small a change this machine can tell, what stands in the way, and what would help"
DESCRIPTION = """\
Measure a reference kernel in a duet of one tree with itself, over some restarts; say how small a slowdown a gate would
see here, in how long, by duet and against stored baselines; and read what the kernel tells of the machine: other load,
steal time, turbo, SMT, frequency governor, a container's CPU quota and the like. Nothing is changed.
"""
EXAMPLES = """\
examples:
  perfguard doctor                              can it tell 5 % of one case within two minutes?
  perfguard doctor --limit 2% --cases 30 --budget 600
  perfguard doctor --seconds 60 --json          measured for longer; for a script

exit status: 0 it can tell the limit within the budget; 1 it cannot; 2 interrupted; 4 a bad option
"""


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "doctor",
        help=HELP,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--limit", default="5%", metavar="SHARE", help="the change that matters (default: 5%%)")
    parser.add_argument("--budget", default="120", metavar="S", help="a duet's time, all cases (default: 120)")
    parser.add_argument("--cases", type=int, default=1, metavar="N", help="how many cases a run has (default: 1)")
    parser.add_argument("--alpha", default="1%", metavar="SHARE", help="the run's error rate (default: 1%%)")
    parser.add_argument("--seconds", default="20", metavar="S", help="how long to measure now (default: 20)")
    parser.add_argument("--json", action="store_true", help="print JSON (perfguard.doctor/1)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure and report; 0 if the limit can be told, else 1."""
    from perfguard.baselines.machine import describe, machine_class
    from perfguard.doctor import report
    from perfguard.doctor.findings import findings
    from perfguard.doctor.machine import read_facts
    from perfguard.doctor.measuring import measure_noise
    from perfguard.doctor.resolving import Question, answer
    from perfguard.options import change_limit, error_rate, time_budget

    if not 1 <= options.cases <= 10_000:
        raise OptionError("--cases", f"{options.cases} is no number of cases", "from 1 to 10000")
    limit, budget_s, seconds = (
        change_limit("--limit", options.limit),
        time_budget("--budget", options.budget),
        time_budget("--seconds", options.seconds),
    )
    if not limit or budget_s is None or seconds is None:
        raise OptionError("--limit, --budget, --seconds", "must be more than nothing", "e.g. 5%, 120, 20")
    question = Question(limit, options.cases, error_rate("--alpha", options.alpha), budget_s)
    before = read_facts()
    noise = measure_noise(seconds, limit, _progress(seconds))
    what = findings(before, read_facts(), noise.others, noise.steal)
    found, machine = answer(noise, question), machine_class(describe())
    if options.json:
        print(json.dumps(report.as_map(found, noise, what, machine), indent=1, allow_nan=False))
    else:
        print(*report.lines(found, noise, what, machine), sep="\n")
    return 0 if found.resolves else 1


def _progress(seconds: float) -> Callable[[int, float], None]:
    """Tell how far it is, on stderr: in place on a terminal, else every fifth restart."""
    terminal = sys.stderr.isatty()

    def tell(restarts: int, spent_s: float) -> None:
        text = f"measuring: {restarts} restarts, {spent_s:.0f} of {seconds:.0f} s"
        if terminal:
            over = spent_s >= seconds * 0.95
            print(f"\r\x1b[K{text}", end="\n" if over else "", file=sys.stderr, flush=True)
        elif restarts % 5 == 0:
            print(text, file=sys.stderr, flush=True)

    return tell
