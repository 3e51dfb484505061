"""`perfguard baseline show|accept|prune`: look at stored baselines, add a run to them, clean them up."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfguard.commands.table import matches, short_key, table
from perfguard.errors import OptionError

if TYPE_CHECKING:
    from perfguard.baselines import BaselineMetric
    from perfguard.document import Case, Run

HELP = "show, accept or prune stored baselines"
DEFAULT_DIR = Path("baselines")
EXAMPLES = """\
examples:
  perfguard baseline show --suite transport            what is stored, and how far process runs spread
  perfguard baseline accept now.json                   add a run: one more process run per metric
  perfguard baseline accept now.json --case '*shm*' --replace   a change was meant: start these afresh
  perfguard baseline prune --missing-from now.json     forget cases that no longer exist
"""


def add_parser(verbs: Any) -> None:
    """Declare the verb and its three actions."""
    parser = verbs.add_parser(
        "baseline",
        help=HELP,
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument(
        "--dir",
        type=Path,
        default=DEFAULT_DIR,
        metavar="DIR",
        help="folder of the baselines (default: %(default)s)",
    )
    select = argparse.ArgumentParser(add_help=False)
    select.add_argument("--case", metavar="PATTERN", help="only cases whose key contains PATTERN (* and ? are wild)")
    select.add_argument("--metric", metavar="PATTERN", help="only metrics whose name contains PATTERN")
    show = actions.add_parser("show", parents=[folder, select], help="print the stored baselines of all classes")
    show.add_argument("--suite", metavar="NAME", help="only this suite")
    show.add_argument("--json", action="store_true", help="print JSON, with every process run")
    show.set_defaults(run=run_show)
    accept = actions.add_parser("accept", parents=[folder, select], help="add a run to the baselines")
    accept.add_argument("document", type=Path, metavar="RUN.json", help="a run document (--perfguard-json)")
    accept.add_argument("--keep", type=int, metavar="N", help="keep the last N process runs (default: 10)")
    accept.add_argument(
        "--replace",
        action="store_true",
        help="forget what is stored of the accepted metrics: this run is the new reference",
    )
    accept.set_defaults(run=run_accept)
    prune = actions.add_parser("prune", parents=[folder], help="take out what is old, too much or gone")
    prune.add_argument("--keep", type=int, metavar="N", help="keep the last N process runs of each metric")
    prune.add_argument("--older-than", type=float, metavar="DAYS", help="forget process runs older than that")
    prune.add_argument(
        "--missing-from",
        type=Path,
        metavar="RUN.json",
        help="forget cases and metrics that this complete run of their suite does not have",
    )
    prune.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    prune.set_defaults(run=run_prune)


def run_show(options: argparse.Namespace) -> int:
    """Print the stored baselines; 0."""
    from perfguard.baselines import reader
    from perfguard.baselines.machine import describe, machine_class
    from perfguard.baselines.model import PORTABLE

    here = machine_class(describe())
    found: list[tuple[str, str, str, BaselineMetric]] = []
    for home in (PORTABLE, *reader.machine_classes(options.dir)):
        for path in reader.baseline_files(options.dir, home):
            suite = reader.suite_of(path)
            if options.suite in (None, suite):
                found.extend(
                    (home, suite, case, metric)
                    for (case, _), metric in reader.read(path).metrics.items()
                    if matches(options.case, case) and matches(options.metric, metric.name)
                )
    if options.json:
        print(json.dumps([_as_map(*entry) for entry in found], indent=1))
        return 0
    if not found:
        print(f"no baselines in {options.dir}" + (" match" if options.suite or options.case or options.metric else ""))
    homes = dict.fromkeys(home for home, *_ in found)
    for home in homes:
        note = {PORTABLE: " (compares on any machine)", here: " (this machine)"}.get(home, "")
        print(f"{home}{note}")
        rows = [_row(suite, case, metric) for of_home, suite, case, metric in found if of_home == home]
        headers = ("suite", "case", "metric", "runs", "median", "spread", "limit", "last", "commit")
        print(table(headers, rows, frozenset({"runs", "median", "spread", "limit"})))
        print()
    return 0


def run_accept(options: argparse.Namespace) -> int:
    """Add a run document to the baselines; 0."""
    from perfguard import baselines, document
    from perfguard.baselines.model import KEEP

    run = _selected(document.load(options.document), options.case, options.metric)
    metrics = sum(len(case.metrics) for case in run.cases)
    if not metrics:
        raise OptionError(
            str(options.document),
            "has no passed case with a metric to accept",
            "look at its cases, or widen --case and --metric",
        )
    written = baselines.update(
        options.dir, run, KEEP if options.keep is None else options.keep, replace_stored=options.replace
    )
    print(f"{metrics} metrics of {len(run.cases)} cases, machine class {run.machine.get('class')}")
    for path in written:
        print(f"wrote {path}")
    if not written:
        print("nothing to write: this run is in the baselines already")
    return 0


def run_prune(options: argparse.Namespace) -> int:
    """Clean the baselines up; 0."""
    from perfguard import baselines, document

    if options.keep is None and options.older_than is None and options.missing_from is None:
        raise OptionError(
            "perfguard baseline prune",
            "nothing says what to take out",
            "give --keep, --older-than or --missing-from",
        )
    older_than = None
    if options.older_than is not None:
        try:
            older_than = datetime.now(timezone.utc) - timedelta(days=options.older_than)
        except (OverflowError, ValueError) as error:
            raise OptionError("--older-than", f"{options.older_than} days is no age") from error
    missing = None if options.missing_from is None else _missing_from(document.load(options.missing_from))
    removed = baselines.prune(
        options.dir, keep=options.keep, older_than=older_than, unwanted=missing, dry_run=options.dry_run
    )
    verb = "would remove" if options.dry_run else "removed"
    for entry in removed:
        what = "all" if entry.whole else f"{entry.process_runs}"
        runs = f"{what} process runs" if entry.whole or entry.process_runs > 1 else "1 process run"
        print(f"{verb} {runs} of {entry.case_key} {entry.metric} ({entry.path})")
    if not removed:
        print("nothing to remove")
    return 0


def _selected(run: Run, case_pattern: str | None, metric_pattern: str | None) -> Run:
    """The run with only its passed cases and metrics of those patterns."""

    def trimmed(case: Case) -> Case:
        return replace(case, metrics=tuple(m for m in case.metrics if matches(metric_pattern, m.name)))

    passed = (case for case in run.cases if case.status == "passed" and matches(case_pattern, case.key))
    return replace(run, cases=tuple(case for case in map(trimmed, passed) if case.metrics))


def _missing_from(run: Run) -> Any:
    """Whether a stored metric is gone from `run`. Only suites of the run count; a case that failed still exists."""
    suites = {case.suite for case in run.cases}
    cases = {(case.suite, case.key): case for case in run.cases}

    def missing(suite: str, case_key: str, metric: str) -> bool:
        if suite not in suites:
            return False
        case = cases.get((suite, case_key))
        return case is None or (case.status == "passed" and case.metric(metric) is None)

    return missing


def _row(suite: str, case_key: str, metric: BaselineMetric) -> tuple[str, ...]:
    from perfguard.units import format_value

    last = metric.process_runs[-1]
    limit = "" if metric.limit is None else f"{metric.limit:.0%}"
    return (
        suite,
        short_key(case_key),
        metric.name + ("" if metric.gated else " (not gated)"),
        str(len(metric.process_runs)),
        format_value(_median(metric), metric.unit, metric.kind),
        _spread(metric),
        limit,
        last.date[:10],
        last.commit,
    )


def _as_map(home: str, suite: str, case_key: str, metric: BaselineMetric) -> dict[str, Any]:
    return {
        "class": home,
        "suite": suite,
        "case": case_key,
        "metric": metric.name,
        "unit": metric.unit,
        "direction": metric.direction,
        "kind": metric.kind,
        "gated": metric.gated,
        "limit": metric.limit,
        "source": metric.source,
        "median": _median(metric),
        "process_runs": [
            {
                "date": run.date,
                "commit": run.commit,
                "n": run.n,
                "median": run.median,
                "ci": list(run.ci),
                "phases": dict(run.phases),
            }
            for run in metric.process_runs
        ],
    }


def _median(metric: BaselineMetric) -> float:
    import statistics

    return statistics.median(metric.medians)


def _spread(metric: BaselineMetric) -> str:
    """How far the medians of process runs lie apart, as a share of their own median."""
    middle = _median(metric)
    if len(metric.medians) < 2 or middle == 0:
        return ""
    return f"{(max(metric.medians) - min(metric.medians)) / abs(middle):.1%}"
