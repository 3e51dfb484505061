"""The command line: `run` a simulation, find the `bottleneck` of the simulator itself, measure real devices."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from perfguard.errors import PerfguardError
from perfguard_suites.simulator import bottleneck_command, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; a problem is one line on stderr and its exit status."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.simulator", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|bottleneck|calibrate|measure-gemm")
    for name, command in (("run", run_command), ("bottleneck", bottleneck_command)):
        verb = verbs.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_options(verb)
        verb.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except PerfguardError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on: python would complain of it at exit
        return 141
    return status
