"""`perfguard import pytest-benchmark FILE ...`: figures of another tool as baselines, a process run per file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perfguard.commands.baseline import DEFAULT_DIR

HELP = "take another tool's results into the baselines"
EXAMPLES = """\
examples:
  perfguard import pytest-benchmark .benchmarks/*/*.json      each saved run is one process run
  perfguard import pytest-benchmark ci.json --machine-class amd-epyc-4c-16g-linux-py3.12-1a2b3c
"""
KINDS = ("pytest-benchmark",)


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
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Add each file to the baselines; 0."""
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
    for path in written:
        print(f"wrote {path}")
    if not written:
        print("nothing to write: these runs are in the baselines already")
    return 0
