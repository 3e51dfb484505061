"""The command line: `serve` starts the untrusted process, `run` runs a request through it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from perfguard_suites.command_line import status_of
from perfguard_suites.split_rpc.request import add_run_options, run_request
from perfguard_suites.split_rpc.server import add_server_options, run_server

_SERVE = "Hold the weights and answer one client on each channel; prints one JSON line with the endpoints."
_RUN = "Run one request, prefill and decode, split between this process and a server that it starts."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; a problem is one line on stderr and its exit status."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.split_rpc", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="serve|run")
    add_server_options(verbs.add_parser("serve", help=_SERVE, description=_SERVE))
    add_run_options(verbs.add_parser("run", help=_RUN, description=_RUN))
    options = parser.parse_args(arguments)
    return status_of(lambda: (run_server if options.verb == "serve" else run_request)(options))
