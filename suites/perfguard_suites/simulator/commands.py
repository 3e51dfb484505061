"""The command line: `run` a simulation, find the simulator's own `bottleneck`, `calibrate` a device's constants."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from perfguard_suites.command_line import status_of
from perfguard_suites.simulator import bottleneck_command, calibration, measure_gemm, run_command


class Verb(NamedTuple):
    """A verb: what it is for, what it adds to a parser, and what it does."""

    words: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


VERBS = {
    "run": Verb(run_command.HELP, run_command.add_options, run_command.run),
    "bottleneck": Verb(bottleneck_command.HELP, bottleneck_command.add_options, bottleneck_command.run),
    "calibrate": Verb(
        "Fit a device's three constants to measured products; --check says how well they predict other products.",
        calibration.add_calibrate_arguments,
        calibration.calibrate_command,
    ),
    "measure-gemm": Verb(
        "Measure products on this machine's CUDA device, for `calibrate`.",
        measure_gemm.add_measure_arguments,
        measure_gemm.measure_command,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; a problem is one line on stderr and its exit status."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.simulator", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(VERBS))
    for name, verb in VERBS.items():
        verb.add_options(verbs.add_parser(name, help=verb.words, description=verb.words))
    options = parser.parse_args(arguments)
    try:
        return status_of(lambda: VERBS[options.verb].run(options))
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on: Python would complain of it at exit
        return 141
