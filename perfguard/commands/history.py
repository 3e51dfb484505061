"""`perfguard history VERB`: stored runs, trends, change points; import and prune."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfguard.commands.table import matches, table
from perfguard.errors import HistoryError, OptionError

if TYPE_CHECKING:
    from perfguard.history import ChangePoint, History
    from perfguard.history.model import Series

SCHEMA = "perfguard.history/1"
HELP = "stored runs: trends, and the commits where one broke"
DESCRIPTION = """\
Each `pytest --perfguard` is stored: in .perfguard/history.db below the project, or where PERFGUARD_HISTORY or
--perfguard-history say (a SQLite file or a PostgreSQL URL).
"""
EXAMPLES = """\
examples:
  perfguard history runs --last 10
  perfguard history trend 'test_prefill*long'            a case by a part of its key (* and ? are wild)
  perfguard history changes --worse                      what got worse on the main line, newest first
  perfguard history changes --history postgresql+psycopg://ci@db/perf --false-share 5%
  perfguard history import .perfguard/unstored/*.json    runs that could not be stored then
  perfguard history prune --keep-last 500 --older-than 365
"""
_BRANCH = "the branch (default: main, master or trunk, else the one with most runs; '*' for all)"


def add_parser(verbs: Any) -> None:
    """Declare the verb and its own verbs."""
    form: Any = argparse.RawDescriptionHelpFormatter
    parser = verbs.add_parser("history", help=HELP, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=form)
    inner = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, run, text in (
        ("runs", runs, "the stored runs, in commit order"),
        ("trend", trend, "a metric of a case over the commits, drawn"),
        ("changes", changes, "where trends broke: commits, magnitude, confidence, and the bisect to go on with"),
        ("prune", prune, "remove old runs, or only their samples"),
        ("import", load, "store run documents: what a run wrote with --perfguard-json, or left when storing failed"),
    ):
        verb = inner.add_parser(name, help=text, description=text)
        verb.add_argument("--history", metavar="PATH|URL", help="the history (default: see above)")
        _ARGUMENTS[name](verb)
        verb.set_defaults(run=run)


def _narrowing(verb: Any) -> None:
    verb.add_argument("--branch", metavar="NAME", help=_BRANCH)
    verb.add_argument("--machine-class", metavar="CLASS", help="only this machine class")
    verb.add_argument("--json", action="store_true", help=f"print JSON ({SCHEMA})")


def _runs_arguments(verb: Any) -> None:
    _narrowing(verb)
    verb.add_argument("--commit", metavar="ID", help="only runs of commits that begin with this")
    verb.add_argument("--last", type=int, default=20, metavar="N", help="how many (default: %(default)s)")


def _trend_arguments(verb: Any) -> None:
    verb.add_argument("case", nargs="?", metavar="CASE", help="a key, a node id or a part of one (left out: list them)")
    verb.add_argument("--metric", default="time", metavar="NAME", help="the metric (default: %(default)s)")
    verb.add_argument("--last", type=int, metavar="N", help="only the last N points")
    verb.add_argument("--dirty", action="store_true", help="also runs of changed files")
    _narrowing(verb)
    _sensitivity(verb)


def _changes_arguments(verb: Any) -> None:
    verb.add_argument("case", nargs="?", metavar="CASE", help="only cases whose key contains this (* and ? are wild)")
    verb.add_argument("--metric", metavar="NAME", help="only this metric")
    verb.add_argument("--all", action="store_true", help="also metrics that are not gated")
    verb.add_argument("--worse", action="store_true", help="only changes for the worse")
    verb.add_argument("--last", type=int, metavar="N", help="only the newest N")
    _narrowing(verb)
    _sensitivity(verb)
    verb.add_argument(
        "--false-share",
        metavar="SHARE",
        help="keep false ones among all that are shown below this share (e.g. 5%%)",
    )


def _sensitivity(verb: Any) -> None:
    verb.add_argument(
        "--alpha", metavar="SHARE", help="chance of finding any change in a series that has none (default: 5%%)"
    )
    verb.add_argument("--smallest", metavar="SHARE", help="leave out changes smaller than this (default: 1%%)")


def _prune_arguments(verb: Any) -> None:
    verb.add_argument("--keep-last", type=int, metavar="N", help="keep the last N of each branch and machine class")
    verb.add_argument("--older-than", type=float, metavar="DAYS", help="remove only what is older")
    verb.add_argument("--branch", default="*", metavar="NAME", help="of this branch only (default: all)")
    verb.add_argument("--samples", action="store_true", help="remove raw samples only, keep the figures")
    verb.add_argument("--dry-run", action="store_true", help="say how many, remove nothing")


def _load_arguments(verb: Any) -> None:
    verb.add_argument("documents", type=Path, nargs="+", metavar="RUN.json", help="run documents")
    verb.add_argument("--no-samples", action="store_true", help="leave the raw samples out")


_ARGUMENTS = {
    "runs": _runs_arguments,
    "trend": _trend_arguments,
    "changes": _changes_arguments,
    "prune": _prune_arguments,
    "import": _load_arguments,
}


# -- the verbs


def runs(options: argparse.Namespace) -> int:
    """Print the runs; 0."""
    with _open(options) as history:
        last = _positive(options.last, "--last")
        found = history.runs(
            branch=options.branch or "*", machine_class=options.machine_class, commit=options.commit, last=last
        )
        if options.json:
            return _print_json(history, runs=[asdict(run) for run in found])
    from perfguard.history.words import runs_table

    print(runs_table(found) if found else "no runs")
    return 0


def trend(options: argparse.Namespace) -> int:
    """Draw the trend of a case, or list the cases; 0."""
    with _open(options) as history:
        if options.case is None:
            return _list(history, options)
        alpha, smallest = _limits(options)
        series = _one(history, options)
        found = history.trend(
            series.case,
            series.metric,
            machine_class=series.machine_class,
            branch=options.branch,
            last=_positive(options.last, "--last"),
            dirty=options.dirty,
        )
        steps = history.changes(
            case=series.case,
            metric=series.metric,
            machine_class=series.machine_class,
            branch=options.branch,
            gated=False,
            alpha=alpha,
            smallest=smallest,
        )
        shown = {point.run for point in found.points}
        steps = tuple(step for step in steps if step.at_run in shown)
        if options.json:
            return _print_json(history, trend=asdict(found), changes=[_change_map(step) for step in steps])
    from perfguard.history.words import trend_text

    print(trend_text(found, steps, *_terminal()))
    return 0


def changes(options: argparse.Namespace) -> int:
    """Print the change points, newest first; 0."""
    from perfguard.options import change_limit

    alpha, smallest = _limits(options)
    share = change_limit("--false-share", options.false_share)
    with _open(options) as history:
        found = history.changes(
            metric=options.metric,
            machine_class=options.machine_class,
            branch=options.branch,
            gated=not options.all,
            alpha=alpha,
            smallest=smallest,
            false_share=share,
        )
        found = tuple(
            change for change in found if matches(options.case, change.case) and (change.is_worse or not options.worse)
        )[: _positive(options.last, "--last")]
        if options.json:
            return _print_json(history, changes=[_change_map(change) for change in found])
    from perfguard.history.words import change_text

    print("\n".join(change_text(change) for change in found) if found else "no changes")
    return 0


def prune(options: argparse.Namespace) -> int:
    """Remove, and say how much; 0."""
    import datetime as dt

    if options.keep_last is None and options.older_than is None:
        raise OptionError("perfguard history prune", "nothing says what may go", "--keep-last N or --older-than DAYS")
    if (options.keep_last or 0) < 0 or (options.older_than or 0) < 0:
        raise OptionError("perfguard history prune", "a number below zero", "--keep-last N, --older-than DAYS")
    days = options.older_than
    before = None if days is None else dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=days)
    with _open(options) as history:
        pruned = history.prune(
            keep_last=options.keep_last,
            before=before,
            branch=options.branch,
            samples_only=options.samples,
            dry_run=options.dry_run,
        )
    what = "would be removed" if options.dry_run else "removed"
    print(f"samples of {pruned.samples} metrics {what}" if options.samples else f"{pruned.runs} runs {what}")
    return 0


def load(options: argparse.Namespace) -> int:
    """Store the documents; 0. Those that are stored already are said to be so."""
    from dataclasses import replace

    from perfguard import document
    from perfguard.history import graph, open_history

    documents = [(path, document.load(path)) for path in options.documents]
    with open_history(_target(options.history, must_exist=False)) as history:
        for path, run in documents:
            known = history.has(run.run_id)
            if not known:
                # What CI says now is of this run only if the run knew no better.
                environ = {} if run.commit.get("branch") else os.environ
                placed = replace(run, commit=graph.placed(run.commit, Path.cwd(), environ))
                history.add(placed, samples=not options.no_samples)
            print(f"{path}: {'stored already' if known else f'{len(run.cases)} cases of {run.started[:10]} stored'}")
        print(f"history: {history.name}")
    return 0


# -- inner


def _open(options: argparse.Namespace) -> History:
    from perfguard.history import open_history

    return open_history(_target(options.history), create=False)


def _target(given: str | None, *, must_exist: bool = True) -> str:
    """The history that is meant: the option's, the environment's, or the one of this folder or the nearest above."""
    from perfguard.history.keeping import DEFAULT, OFF

    told = given or os.environ.get("PERFGUARD_HISTORY")
    if told == OFF:
        raise HistoryError("PERFGUARD_HISTORY", "is off", "name one with --history")
    if told:
        return told
    here = Path.cwd()
    found = next((folder / DEFAULT for folder in (here, *here.parents) if (folder / DEFAULT).exists()), None)
    if found is None and must_exist:
        raise HistoryError(
            DEFAULT,
            "there is no history in this folder or above",
            "run pytest --perfguard with the extra: pip install 'perfguard[history]'",
        )
    return str(found or here / DEFAULT)


def _limits(options: argparse.Namespace) -> tuple[float, float]:
    from perfguard.history.limits import ALPHA, SMALLEST
    from perfguard.options import change_limit

    alpha, smallest = change_limit("--alpha", options.alpha), change_limit("--smallest", options.smallest)
    if alpha is not None and not 0 < alpha < 1:
        raise OptionError("--alpha", f"{options.alpha!r} is no chance", "write 5% or 0.05")
    return ALPHA if alpha is None else alpha, SMALLEST if smallest is None else smallest


def _positive(number: int | None, option: str) -> int | None:
    if number is not None and number < 1:
        raise OptionError(option, f"{number} is none", "give a number above zero")
    return number


def _one(history: History, options: argparse.Namespace) -> Series:
    """The series that is meant: of a case named in full, or by a part that only one has; on the class measured last."""
    candidates = [
        one
        for one in history.series()
        if one.metric == options.metric and options.machine_class in (None, one.machine_class)
    ]
    exact = [one for one in candidates if options.case in (one.case, one.case_id)]
    found = exact or [one for one in candidates if matches(options.case, one.case)]
    cases = sorted({one.case for one in found})
    if not cases:
        raise HistoryError(history.name, f"has no {options.metric} of {options.case}", "`history trend` lists them")
    if len(cases) > 1:
        shown = ", ".join(cases[:5]) + (f" and {len(cases) - 5} more" if len(cases) > 5 else "")
        raise OptionError(options.case, f"fits {len(cases)} cases: {shown}", "name one of them")
    newest = history.trend(cases[0], options.metric, machine_class=options.machine_class, branch="*", last=1)
    return next(one for one in found if one.machine_class == newest.machine_class)


def _list(history: History, options: argparse.Namespace) -> int:
    found = [one for one in history.series() if options.machine_class in (None, one.machine_class)]
    if options.json:
        return _print_json(history, series=[asdict(one) for one in found])
    rows = [(one.case, one.metric + ("" if one.gated else " (not gated)"), one.machine_class) for one in found]
    print(table(("case", "metric", "machine class"), rows) if rows else "no cases")
    return 0


def _terminal() -> tuple[int, bool]:
    """How wide the terminal is, and whether it shows nothing but ASCII."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return shutil.get_terminal_size().columns, not encoding.startswith("utf")


def _change_map(change: ChangePoint) -> dict[str, Any]:
    from perfguard.history.bisecting import bisect_command

    return {**asdict(change), "worse": change.is_worse, "bisect": bisect_command(change)}


def _print_json(history: History, **content: Any) -> int:
    print(json.dumps({"schema": SCHEMA, "history": history.name, **content}, indent=1))
    return 0
