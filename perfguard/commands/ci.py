"""`perfguard ci gate|comment`: what a CI job runs, in GitHub Actions, in GitLab or in a plain shell."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from perfguard.errors import OptionError

HELP = "gate a change in CI: against its merge base, with summary, annotations, artifact and comment"
DEFAULT_OUT = Path("perfguard-results")
DEFAULT_NAME = "perfguard"
EXAMPLES = """\
examples:
  perfguard ci gate tests/perf                          a change against its merge base, main against its baselines
  perfguard ci gate tests/perf --against origin/main --limit 5% --seconds 300
  perfguard ci comment                                  post what the gate left in perfguard-results to the pull request

exit status of gate: 0 passed; 1 something got slower (--fail-on says what counts), or a test failed; 2 interrupted;
3 pytest broke; 4 a bad option, or no base to be found; 5 no performance case found. comment: 0, also where it could
not be posted from a pull request's own job; 4 a bad option, artifact or answer
"""


def add_parser(verbs: Any) -> None:
    """Declare the verb and its two actions."""
    parser = verbs.add_parser(
        "ci",
        help=HELP,
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_gate(actions)
    _add_comment(actions)


def _add_gate(actions: Any) -> None:
    gate = actions.add_parser("gate", help="measure, compare and tell; the exit status is the gate's")
    gate.add_argument("paths", nargs="*", metavar="PATH", help="what pytest collects (default: as pytest is set up)")
    gate.add_argument("--paths", dest="more_paths", default="", metavar="TEXT", help="more of them, in one text")
    gate.add_argument("--pytest", default="", metavar="TEXT", help="further options for pytest, in one text")
    gate.add_argument(
        "--against",
        default="",
        metavar="REV",
        help="auto: a change's merge base, and stored baselines on the main branch; none: stored baselines; or the "
        "merge base with REV (default: auto)",
    )
    for name, metavar, text in (
        ("against-python", "PYTHON", "the base's interpreter (default: this side's)"),
        ("profile", "PROFILE", "quick, standard or full"),
        ("limit", "SHARE", "change that matters, e.g. 5%%, whatever a test's marker says"),
        ("alpha", "SHARE", "chance that a run without any change alarms (default: 1%%)"),
        ("seconds", "S", "time for all cases of a comparison with a base"),
        ("history", "PATH|URL", "where the main branch's runs are stored; off: nowhere"),
        ("baselines", "DIR", "folder of the baselines"),
    ):
        gate.add_argument(f"--{name}", default="", metavar=metavar, help=text)
    gate.add_argument(
        "--fail-on", default="", metavar="VERDICTS", help="slower,noisy,missing, or none (default: slower)"
    )
    gate.add_argument(
        "--update-baselines",
        default="off",
        choices=("off", "patch", "branch"),
        help="after a good run of the main branch, propose its figures as baselines: as a patch among the results, or "
        "pushed as a branch too (default: %(default)s)",
    )
    gate.add_argument(
        "--update-branch", default="perfguard/baselines", metavar="BRANCH", help="that branch (default: %(default)s)"
    )
    gate.add_argument("--python", default="", metavar="PYTHON", help="the interpreter that runs pytest (default: ours)")
    gate.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="results (default: %(default)s)")
    gate.add_argument("--minutes", type=float, default=120.0, metavar="M", help="end pytest then (default: 120)")
    gate.set_defaults(run=run_gate)


def _add_comment(actions: Any) -> None:
    comment = actions.add_parser("comment", help="post or update the gate's comment on the pull request")
    comment.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="the gate's results")
    comment.add_argument(
        "--artifact",
        default=DEFAULT_NAME,
        metavar="NAME",
        help="on workflow_run: the artifact of the triggering run that holds them (default: %(default)s)",
    )
    comment.add_argument(
        "--name", default=DEFAULT_NAME, metavar="NAME", help="tells the comments of several gates apart"
    )
    comment.set_defaults(run=run_comment)


def run_gate(options: argparse.Namespace) -> int:
    """Run the gate; its exit status."""
    from perfguard.ci.base import AUTO
    from perfguard.ci.gate import Wishes, gate

    if not 0 < options.minutes <= 24 * 60:
        raise OptionError("--minutes", f"{options.minutes} is no time", "give minutes, up to a day")
    wishes = Wishes(
        paths=(*options.paths, *_split("--paths", options.more_paths)),
        pytest_arguments=_split("--pytest", options.pytest),
        against=options.against or AUTO,
        against_python=options.against_python,
        profile=options.profile,
        limit=options.limit,
        alpha=options.alpha,
        seconds=options.seconds,
        fail_on=options.fail_on or "slower",
        history=options.history,
        baselines=options.baselines,
        update_baselines=options.update_baselines,
        update_branch=options.update_branch,
        python=options.python or sys.executable,
        out=options.out,
        timeout_s=60 * options.minutes,
    )
    return gate(wishes, os.environ)


def run_comment(options: argparse.Namespace) -> int:
    """Post the comment; 0."""
    from perfguard.ci.comment import comment

    posted = comment(options.name, options.out, options.artifact, os.environ)
    prefix = "::notice::" if os.environ.get("GITHUB_ACTIONS") == "true" and not posted.done else ""
    print(f"{prefix}perfguard: {posted.said}")
    return 0


def _split(option: str, text: str) -> tuple[str, ...]:
    """Words as a shell would see them. Raises `OptionError` for a quote that is not closed."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise OptionError(option, f"{text!r} cannot be split into words: {error}") from error
