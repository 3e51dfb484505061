"""`perfguard overlap FILE ...`: what ran at once in another profiler's trace, and what stood idle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfguard.errors import OptionError

if TYPE_CHECKING:
    from perfguard.traces.analysis import Analysis, Wishes
    from perfguard.traces.nsys_csv import Totals

HELP = "what overlapped in a profiler's trace: lanes, pairs, ranges, layers, kernels, idle gaps"
DESCRIPTION = """\
Read a trace of the PyTorch profiler (Chrome JSON, also gzip), an SQLite export of Nsight Systems, or the CSV of
`nsys stats`, and say what ran at the same time. Overlap is measured from intervals: unions, never sums of streams.
"""
EXAMPLES = """\
examples:
  perfguard overlap trace.json.gz                              tables in the terminal
  perfguard overlap report.sqlite --device 1 --markdown        for a pull request
  perfguard overlap trace.json --lane io=load_* --lane math=layer_*    lanes of your own, also of a CPU trace
  perfguard overlap nvtx.csv kern.csv --within run --lane copy=load_*  bounds, where only totals are known
"""


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "overlap",
        help=HELP,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a trace; several CSVs are read as one")
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: Any) -> None:
    """The options of a report, shared with `perfguard import`."""
    from perfguard.traces import DEFAULT_LAYER

    parser.add_argument("--json", action="store_true", help="print JSON (perfguard.overlap/1)")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--device", type=int, metavar="N", help="the device to look at (default: the busiest)")
    parser.add_argument(
        "--lane",
        action="append",
        default=[],
        metavar="NAME=PATTERN",
        help="a lane of ranges and activities by name (* and ? are wild); may be given again",
    )
    parser.add_argument("--layer-pattern", default=DEFAULT_LAYER, metavar="REGEX", help="finds a layer's number")
    parser.add_argument("--layers", type=int, metavar="N", help="layers of the pipeline: adds its efficiency")
    parser.add_argument("--within", metavar="RANGE", help="only from the first start to the last end of that range")
    parser.add_argument("--operators", action="store_true", help="CPU operators count as ranges too (kineto)")
    parser.add_argument("--hta", action="store_true", help="show HolisticTraceAnalysis' figures by its definitions")
    parser.add_argument("--top", type=int, default=15, metavar="N", help="rows per table (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Print the report; 0."""
    from perfguard.traces import reading

    form = reading.format_of(options.files[0])
    report(options, form)
    return 0


def report(options: argparse.Namespace, form: str) -> list[Analysis]:
    """Print the report of each file, of that format; returns the analyses (none of totals)."""
    from perfguard.traces import nsys_csv, reading
    from perfguard.traces.analysis import analyse
    from perfguard.traces.figures import as_map

    wishes = wishes_of(options)
    if form == nsys_csv.FORMAT:
        _report_totals(options, nsys_csv.read(options.files), wishes)
        return []
    found = [analyse(reading.read(path, form, operators=options.operators), wishes) for path in options.files]
    if options.json:
        maps = [as_map(one) for one in found]
        print(json.dumps(maps[0] if len(maps) == 1 else maps, indent=1))
        return found
    for one in found:
        print(_shown(options, one))
    return found


def wishes_of(options: argparse.Namespace) -> Wishes:
    """The options as what an analysis takes. Raises `OptionError` naming the one that is wrong."""
    from perfguard.traces.analysis import Wishes
    from perfguard.traces.rows import layer_pattern

    lanes = {}
    for text in options.lane:
        name, equals, pattern = text.partition("=")
        if not (name and equals and pattern):
            raise OptionError("--lane", f"{text!r} is no lane", "NAME=PATTERN, such as io=load_*")
        lanes[name] = pattern
    for option in ("layers", "top"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise OptionError(f"--{option}", f"{value} is none", "a whole number, 1 or more")
    if options.json and options.markdown:
        raise OptionError("--json", "cannot be combined with --markdown", "choose one")
    return Wishes(options.device, lanes, layer_pattern(options.layer_pattern), options.layers, options.within)


def _shown(options: argparse.Namespace, analysis: Analysis) -> str:
    from perfguard.traces import report as drawn

    sections = drawn.sections_of(analysis, options.top, with_hta=options.hta)
    draw = drawn.markdown if options.markdown else drawn.text
    return draw(drawn.head_of(analysis), sections, analysis.notes)


def _report_totals(options: argparse.Namespace, totals: Totals, wishes: Wishes) -> None:
    from perfguard.traces import figures, nsys_csv
    from perfguard.traces import report as drawn

    layers = nsys_csv.by_layer(totals.ranges, wishes.layer_pattern)
    bounds = nsys_csv.bounds(totals, wishes.within, wishes.lanes) if wishes.within else None
    if options.json:
        print(json.dumps(figures.totals_map(totals, layers, bounds), indent=1))
        return
    notes = [] if bounds else ["totals hold no times: --within RANGE gives bounds of the overlap, a trace the overlap"]
    sections = drawn.sections_of_totals(totals, drawn.layer_sections(layers), options.top)
    draw = drawn.markdown if options.markdown else drawn.text
    print(draw(drawn.head_of_totals(totals, bounds), sections, notes))
