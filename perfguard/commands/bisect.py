"""`perfguard bisect GOOD BAD -- CASE [pytest options]`: the first commit that made a case slower, by duets."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfguard.errors import OptionError

HELP = "find the first commit that made a case slower"
DESCRIPTION = """\
Compare BAD with GOOD, then commits between them with GOOD, until the first slower one is found; compare that one
with its parent. Each comparison is a duet that goes on until its verdict is certain. Commits that cannot be
imported, lack the case or stay noisy are skipped. The checkout is left alone: all happens in temporary worktrees.
"""
EXAMPLES = """\
examples:
  perfguard bisect v1.2 main -- tests/perf/test_llm.py::test_prefill
  perfguard bisect v1.2 main --seconds 120 --json found.json -- tests/perf/test_llm.py -k prefill
  perfguard bisect v1.2 main --build 'python setup.py build_ext --inplace' -- tests/perf/test_native.py::test_copy

exit status: 0 one commit found; 1 none: BAD is not slower for certain, only a range remains, or its last commit
does not differ from its parent; 2 interrupted; 4 a bad option, revision or case
"""


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "bisect",
        help=HELP,
        usage="perfguard bisect GOOD BAD [options] -- CASE [pytest options]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("good", metavar="GOOD", help="a revision that is fast, an ancestor of BAD")
    parser.add_argument("bad", metavar="BAD", help="a revision that is slow")
    parser.add_argument(
        "arguments", nargs="+", metavar="CASE", help="after `--`: a case as pytest names it, and options for pytest"
    )
    parser.add_argument(
        "--seconds",
        metavar="S",
        help="for each comparison, which ends sooner if it is certain (default: 60); one that is noisy then is "
        "measured longer, up to four times that, and then skipped",
    )
    parser.add_argument(
        "--alpha", metavar="SHARE", help="chance that any comparison calls equal commits slower (default: 1%%)"
    )
    parser.add_argument(
        "--limit",
        metavar="SHARE",
        help="slowdown that matters (default: the case's own for the ends, half of what these differ by for the steps)",
    )
    parser.add_argument("--metric", metavar="NAME", help="follow this metric (default: time, or what is slower)")
    parser.add_argument("--build", metavar="COMMAND", default="", help="shell command to run first in each worktree")
    parser.add_argument("--json", metavar="PATH", help="write what was found as JSON; `-`: to stdout")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Bisect and print; 0 if one commit was found and differs from its parent, else 1."""
    from perfguard.bisect import report
    from perfguard.bisect.driver import DEFAULT_SECONDS, Bisect, Plan, Step
    from perfguard.bisect.history import branch_base, commits_between
    from perfguard.bisect.measuring import Measurer
    from perfguard.bisect.search import Search
    from perfguard.duet.worktree import top_of
    from perfguard.options import change_limit, error_rate, output_path, time_budget

    plan = Plan(
        seconds=time_budget("--seconds", options.seconds) or DEFAULT_SECONDS,
        alpha=error_rate("--alpha", options.alpha),
        limit=change_limit("--limit", options.limit),
        metric=options.metric,
    )
    file = None if options.json == "-" else output_path(options.json, Path.cwd(), "--json")
    folder = Path.cwd().resolve()
    top = top_of(folder)
    commits = commits_between(top, options.good, options.bad)
    measurer = Measurer(top, folder, _below_folder(options.arguments, top, folder), options.build)
    out = sys.stderr if options.json == "-" else sys.stdout

    def say(*lines: str) -> None:
        print(*lines, sep="\n", file=out, flush=True)

    def tell(step: Step, search: Search) -> None:
        say(report.step_line(step, search))
        if step.role == "ends" and step.metric is not None and step.answer == "bad":
            say(report.following(step.metric, bisect.limit))

    bisect = Bisect(commits, measurer, plan, tell)
    say(report.beginning(len(commits) - 1, plan, bisect.spending.steps))
    with measurer.keeping(commits[0].id, options.good):
        result = bisect.run()
    say(*report.conclusion(result, options.good, options.bad))
    if len(result.suspects) == 1 and len(result.suspects[0].parents) == 2:
        inside = f"{branch_base(top, result.suspects[0])[:9]} {result.suspects[0].parents[1][:9]}"
        say(f"    it is a merge; to look inside: perfguard bisect {inside} -- {shlex.join(options.arguments)}")
    text = json.dumps(report.as_map(result, plan, options.good, options.bad), indent=1)
    if options.json == "-":
        print(text)
    elif file is not None:
        from perfguard.session import write_text

        write_text(file, text)
    return 0 if result.conclusion == "found" else 1


def _below_folder(arguments: Sequence[str], top: Path, folder: Path) -> list[str]:
    """The arguments for pytest with cases below the checkout named from `folder`, so that they mean each worktree's.

    Raises `OptionError` if no case is named: what pytest collects by itself may differ from commit to commit.
    """
    if arguments[0].startswith("-"):
        raise OptionError(f"-- {arguments[0]}", "is no case", "name the case first, then options for pytest")
    mapped = []
    for argument in arguments:
        file, separator, tail = argument.partition("::")
        path = Path(file)
        if path.is_absolute() and path.is_relative_to(top):
            mapped.append(os.path.relpath(path, folder) + separator + tail)
        else:
            mapped.append(argument)
    return mapped
