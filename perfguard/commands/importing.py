"""`perfguard import KIND FILE ...`: figures of another tool as baselines, a process run per file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfguard.commands import overlap
from perfguard.commands.baseline import DEFAULT_DIR
from perfguard.errors import OptionError

if TYPE_CHECKING:
    from perfguard.document import Run
    from perfguard.traces.analysis import Analysis

HELP = "take another tool's results into the baselines"
EXAMPLES = """\
examples:
  perfguard import pytest-benchmark .benchmarks/*/*.json      each saved run is one process run
  perfguard import pytest-benchmark ci.json --machine-class amd-epyc-4c-16g-linux-py3.12-1a2b3c
  perfguard import kineto trace.json.gz                       what is in a trace, as `perfguard overlap`
  perfguard import kineto run-*.json.gz --as-case decode      its figures as a case of the baselines
  perfguard import nsys report.sqlite --as-case decode --gate  judged against them: 1 if it got slower
"""
SAVED = "pytest-benchmark"
TRACES = ("kineto", "nsys", "nsys-csv")
KINDS = (SAVED, *TRACES)


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "import",
        help=HELP,
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=f"the format: {', '.join(KINDS)}")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="results, oldest first")
    parser.add_argument(
        "--dir", type=Path, default=DEFAULT_DIR, metavar="DIR", help="folder of the baselines (default: %(default)s)"
    )
    parser.add_argument(
        "--rootdir", type=Path, default=Path(), metavar="DIR", help="where the test files lie (default: here)"
    )
    parser.add_argument(
        "--machine-class", metavar="CLASS", help="where they were measured (default: here, if the files agree)"
    )
    traces = parser.add_argument_group("traces")
    traces.add_argument("--as-case", metavar="NAME", help="store the figures of each trace as a run of this case")
    traces.add_argument("--gate", action="store_true", help="judge the case against the baselines, store nothing")
    traces.add_argument("--fail-on", default="slower", metavar="VERDICTS", help="with --gate (default: %(default)s)")
    traces.add_argument("--run-json", type=Path, metavar="PATH", help="also write the run document of the last trace")
    overlap.add_options(traces)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Add each file to the baselines, or gate it; 0, or 1 if the gate fails."""
    return _saved(options) if options.kind == SAVED else _traces(options)


def _saved(options: argparse.Namespace) -> int:
    from perfguard import baselines
    from perfguard.benchmark import reading

    saved = sorted((reading.load(path) for path in options.files), key=lambda one: one.date)
    runs = [reading.as_run(one, options.rootdir.resolve(), options.machine_class) for one in saved]
    written: dict[Path, None] = {}
    for one, past in zip(saved, runs, strict=True):
        written |= dict.fromkeys(baselines.update(options.dir, past))
        print(f"{one.source}: {len(past.cases)} cases of {one.date[:10]}, machine class {past.machine['class']}")
    unknown = dict.fromkeys(name for one in saved for name in reading.missing_files(one, options.rootdir))
    if unknown:
        print(f"not below {options.rootdir}: {', '.join(unknown)}: keys are made without their packages (--rootdir)")
    return _wrote(written)


def _wrote(written: dict[Path, None]) -> int:
    for path in written:
        print(f"wrote {path}")
    if not written:
        print("nothing to write: these runs are in the baselines already")
    return 0


def _traces(options: argparse.Namespace) -> int:
    if options.as_case is None:
        if options.gate or options.run_json is not None:
            raise OptionError("--as-case", "is missing", "name the case that the trace is a run of")
        overlap.report(options, options.kind)
        return 0
    if options.kind == "nsys-csv":
        raise OptionError("--as-case", "totals are no run of a case", "import the trace: kineto or nsys")
    return _cases(options)


def _cases(options: argparse.Namespace) -> int:
    from perfguard import baselines
    from perfguard.traces import cases, reading
    from perfguard.traces.analysis import analyse

    name, wishes = cases.case_name(options.as_case), overlap.wishes_of(options)
    runs = []
    for path in options.files:
        found = analyse(reading.read(path, options.kind, operators=options.operators), wishes)
        runs.append(_as_run(found, path, name, options.machine_class))
    if options.run_json is not None:
        from perfguard.document import to_json

        options.run_json.write_text(json.dumps(to_json(runs[-1]), indent=1), encoding="utf-8")
    if options.gate:
        return _gate(options, runs)
    written: dict[Path, None] = {}
    for one in runs:
        written |= dict.fromkeys(baselines.update(options.dir, one))
        print(f"{one.run_id}: {len(one.cases[0].metrics)} figures, machine class {one.machine['class']}")
    return _wrote(written)


def _as_run(found: Analysis, path: Path, name: str, machine_class: str | None) -> Run:
    """The trace as a run of the machine it was recorded on: times are left out where that is unknown."""
    from perfguard.baselines import machine
    from perfguard.traces import cases

    if machine_class is not None:
        return cases.as_run(found, path, name, {"class": machine_class}, portable_only=False)
    here = machine.describe()
    elsewhere = found.device is not None and (found.device_name or "an unnamed device") not in str(here["accelerator"])
    if elsewhere:
        print(
            f"{path}: recorded on {found.device_name or 'an unnamed device'}, which is not here: times are left out "
            "(--machine-class names where; `perfguard machine` there prints it)"
        )
    described = {"class": machine.machine_class(here), **here}
    return cases.as_run(found, path, name, described, portable_only=elsewhere)


def _gate(options: argparse.Namespace, runs: list[Run]) -> int:
    from perfguard.commands.table import table
    from perfguard.report.words import GLYPHS, phase_change_line
    from perfguard.traces import cases
    from perfguard.units import format_change, format_value

    judged, decision = cases.gate(runs, options.dir, options.fail_on)
    rows: list[tuple[str, ...]] = []
    causes: list[str] = []
    for case in judged:
        for metric in case.metrics:
            verdict, known, change = metric.verdict or "new", metric.baseline, metric.change
            before = "" if known is None else format_value(known.median, metric.unit, metric.kind)
            now = format_value(metric.median, metric.unit, metric.kind)
            shown = "" if change is None else format_change(change.ratio)
            name = metric.name + ("" if metric.gated else " (not gated)")
            rows.append((f"{GLYPHS[verdict]} {verdict}", case.key, name, before, now, shown))
            causes.extend(f"  {phase_change_line(phase)}" for phase in (change.phases if change else ()))
    headers = ("verdict", "case", "metric", "before", "now", "change")
    print("\n".join([table(headers, rows, frozenset(headers[3:])), *causes, decision.reason]))
    return decision.exit_status
