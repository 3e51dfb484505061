"""The command line: `serve` starts the untrusted process, `run` runs a request through it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from perfguard.errors import PerfguardError
from perfguard_suites.split_rpc.server import add_server_options, run_server


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; a problem is one line on stderr and its exit status."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.split_rpc", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    add_server_options(verbs.add_parser("serve", help="hold the weights, answer one client per channel"))
    options = parser.parse_args(arguments)
    try:
        return run_server(options)
    except PerfguardError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
